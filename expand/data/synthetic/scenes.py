"""The scenes of the default data: actors, rooms and motions sampled from a seed.

All samples are plain values, functions of the seed and a name. `render.py` explains the classes, `drawing.py` draws the frames.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, FPS, FRAMES = 128, 96, 16, 32
SECONDS = FRAMES / FPS
SLOW_HZ, FAST_HZ = 0.55, 1.2  # a raise is half a cycle in two seconds, 0.25 Hz: each about 2.2 times the last

# class -> what moves, and how: once "forward" or "backward" through its range, to and fro at some Hz, or not at all
COURSES: dict[str, tuple[str, str | float]] = {
    "raise arms": ("arms", "forward"),
    "lower arms": ("arms", "backward"),
    "wave slowly": ("arms", SLOW_HZ),
    "wave quickly": ("arms", FAST_HZ),
    "step left": ("sideways", "backward"),
    "step right": ("sideways", "forward"),
    "crouch down": ("knees", "forward"),
    "stand up": ("knees", "backward"),
    "carry a box": ("box", "still"),
    "sit on a chair": ("chair", "still"),
}
CLASSES = tuple(COURSES)
PROPS = {"box": (190, 145, 85), "chair": (60, 70, 130)}  # typical colours of a box or a chair

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Actor:
    """A body in units of its standing height, and its colours. `leg` is the height of the hips; widths are half widths."""

    leg: float
    arm: float
    shoulder: float
    hip: float
    head: float
    limb: float
    skin: Colour
    hair: Colour
    shirt: Colour
    sleeve: Colour
    forearm: Colour
    trousers: Colour
    shin: Colour
    shoes: Colour


@dataclass(frozen=True)
class Patch:
    """A rectangle of furniture in frame pixels; `inner` is the colour within its rim."""

    left: float
    top: float
    right: float
    bottom: float
    rim: Colour
    inner: Colour


@dataclass(frozen=True)
class Scene:
    """A room, its light and its camera.

    `height` and `feet` (from the top) are in frame heights, noise and texture in grey levels of 255, `gain` and `drift` are
    factors of brightness, shake is in pixels.
    """

    height: float
    feet: float
    horizon: float
    wall_top: Colour
    wall_bottom: Colour
    floor: Colour
    furniture: tuple[Patch, ...]
    texture: str
    pitch: int
    contrast: float
    gain: float
    drift: float
    drift_hz: float
    noise: float
    shake: float


@dataclass(frozen=True)
class Motion:
    """One clip's movement.

    `moves` and `course` come from the class; everything else has the same distribution for all classes. `low_hold` and
    `high_hold` are the shares of time at the two ends of the range. Angles are in radians from hanging down, lengths in
    standing heights (`travel` and `offset` in frame heights), phases in turns.
    """

    moves: str
    course: str | float
    phase: float
    low_hold: float
    high_hold: float
    ease: float
    angle_low: float
    angle_high: float
    angle_skew: float
    elbow: float
    depth: float
    travel: float
    offset: float
    stance: float
    shuffle_hz: float
    sway: float
    sway_hz: float
    prop: Colour
    shake_phase: tuple[float, float, float, float]


def seeded(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on the seed and the names only."""
    return np.random.default_rng(list("/".join([str(seed), *names]).encode()))


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _furthest(candidates: list[Colour], others: list[Colour]) -> Colour:
    """The candidate whose nearest colour among `others` is furthest away."""
    return max(candidates, key=lambda colour: min(math.dist(colour, other) for other in others))


def draw_actor(rng: np.random.Generator) -> Actor:
    skin = blend((242, 205, 178), (92, 58, 40), rng.uniform())
    shirt = _colour(rng, (0.3, 0.85), (0.25, 0.9))
    trousers = _furthest([_colour(rng, (0.1, 0.7), (0.15, 0.75)) for _ in range(3)], [shirt])
    sleeve = shirt if rng.uniform() < 0.8 else _colour(rng, (0.3, 0.9), (0.3, 0.95))
    return Actor(
        leg=rng.uniform(0.46, 0.51),
        arm=rng.uniform(0.39, 0.44),
        shoulder=rng.uniform(0.1, 0.13),
        hip=rng.uniform(0.055, 0.075),
        head=rng.uniform(0.066, 0.08),
        limb=rng.uniform(0.038, 0.048),
        skin=skin,
        hair=blend((35, 25, 20), (205, 170, 110), rng.uniform() ** 2),
        shirt=shirt,
        sleeve=sleeve,
        forearm=skin if rng.uniform() < 0.5 else sleeve,
        trousers=trousers,
        shin=skin if rng.uniform() < 0.25 else trousers,
        shoes=_colour(rng, (0.0, 0.5), (0.1, 0.9)),
    )


def _draw_furniture(rng: np.random.Generator, wall: Colour, horizon: float) -> tuple[Patch, ...]:
    """Pictures and windows high on the wall, cupboards on the floor line; colours that stay near the wall's."""
    patches = []
    for _ in range(int(rng.integers(2, 6))):
        width, height = rng.uniform(12, 34), rng.uniform(10, 40)
        left = rng.uniform(-0.5 * width, WIDTH - 0.5 * width)
        bottom = horizon + 2 if rng.uniform() < 0.5 else rng.uniform(height, max(height + 1, 0.7 * horizon))
        rim, inner = (blend(wall, _colour(rng, (0.0, 0.7), (0.2, 0.95)), share) for share in (0.4, 0.25))
        patches.append(Patch(left, bottom - height, left + width, bottom, rim, inner))
    return tuple(patches)


def draw_scene(rng: np.random.Generator, actor: Actor) -> Scene:
    worn = [actor.skin, actor.shirt, actor.sleeve, actor.trousers]
    wall = _furthest([_colour(rng, (0.03, 0.4), (0.4, 0.97)) for _ in range(10)], worn)
    floor = _furthest([_colour(rng, (0.1, 0.5), (0.3, 0.8)) for _ in range(4)], [actor.trousers, actor.shoes, wall])
    feet = rng.uniform(0.86, 0.92)
    horizon = HEIGHT * (feet - rng.uniform(0.05, 0.16))
    return Scene(
        height=rng.uniform(0.6, 0.74),
        feet=feet,
        horizon=horizon,
        wall_top=blend(wall, (255, 255, 255), rng.uniform(0, 0.25)),
        wall_bottom=blend(wall, (0, 0, 0), rng.uniform(0, 0.2)),
        floor=floor,
        furniture=_draw_furniture(rng, wall, horizon),
        texture=str(rng.choice(["plain", "stripes", "boards", "grain"])),
        pitch=int(rng.integers(6, 15)),
        contrast=rng.uniform(3, 9),
        gain=rng.uniform(0.75, 1.12),
        drift=rng.uniform(0.0, 0.06),
        drift_hz=rng.uniform(0.1, 0.5),
        noise=rng.uniform(1.0, 3.0),
        shake=rng.uniform(0.1, 0.7),
    )


def draw_motion(rng: np.random.Generator, label: str) -> Motion:
    moves, course = COURSES[label]
    return Motion(
        moves=moves,
        course=course if isinstance(course, str) else course * rng.uniform(0.85, 1.15),
        phase=rng.uniform(),
        low_hold=rng.uniform(0.0, 0.12),
        high_hold=rng.uniform(0.0, 0.12),
        ease=rng.uniform(-0.3, 0.3),
        angle_low=math.radians(rng.uniform(8, 20)),
        angle_high=math.radians(rng.uniform(148, 168)),
        angle_skew=math.radians(rng.uniform(-6, 6)),
        elbow=math.radians(rng.uniform(-6, 16)),
        depth=rng.uniform(0.27, 0.33),
        travel=rng.uniform(0.37, 0.44),
        offset=rng.uniform(-0.06, 0.06),
        stance=rng.uniform(0.07, 0.14),
        shuffle_hz=rng.uniform(1.5, 2.5),
        sway=rng.uniform(0.005, 0.015),
        sway_hz=rng.uniform(0.3, 0.8),
        prop=blend(PROPS.get(moves, (0, 0, 0)), _colour(rng, (0.2, 0.8), (0.3, 0.9)), rng.uniform(0, 0.5)),
        shake_phase=(rng.uniform(), rng.uniform(), rng.uniform(), rng.uniform()),
    )


def extent(motion: Motion, time: float) -> float:
    """The position of the moving part in its range, 0 to 1, at `time` (0 to 1 of the clip).

    All courses follow the same profile of holds and easing, once or as a triangle wave with random phase. So at a uniformly
    random time every course has the same distribution.
    """
    if motion.course == "forward":
        run = time
    elif motion.course == "backward":
        run = 1 - time
    elif isinstance(motion.course, float):
        run = abs(2 * ((motion.phase + motion.course * SECONDS * time) % 1) - 1)
    else:
        return 0.0
    moved = min(1.0, max(0.0, (run - motion.low_hold) / (1 - motion.low_hold - motion.high_hold)))
    return moved + motion.ease * math.sin(2 * math.pi * moved) / (2 * math.pi)


def draw_clip(seed: int, group: str, label: str) -> tuple[Actor, Scene, Motion]:
    """All parameters of one clip; the actor and the scene are those of its whole group."""
    actor = draw_actor(seeded(seed, group, "actor"))
    scene = draw_scene(seeded(seed, group, "scene"), actor)
    return actor, scene, draw_motion(seeded(seed, group, label), label)
