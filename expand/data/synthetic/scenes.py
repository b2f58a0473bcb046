"""The scenes of the default data: actors, rooms and motions sampled from a seed, and their rendered frames.

All samples are plain values, functions of the seed and a name. `expand/data/synthetic/render.py` explains the classes and
writes the files.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS, FRAMES = 128, 96, 16, 32
SECONDS = FRAMES / FPS
SUPERSAMPLE = 3
MARGIN = 4  # pixels of background beyond the frame, for the camera's shake
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


# Samples: plain values, each a function of the seed and a name ------------------------------------------------------


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


def _random(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends on the seed and the names only."""
    return np.random.default_rng(list("/".join([str(seed), *names]).encode()))


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _furthest(candidates: list[Colour], others: list[Colour]) -> Colour:
    """The candidate whose nearest colour among `others` is furthest away."""
    return max(candidates, key=lambda colour: min(math.dist(colour, other) for other in others))


def draw_actor(rng: np.random.Generator) -> Actor:
    skin = _blend((242, 205, 178), (92, 58, 40), rng.uniform())
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
        hair=_blend((35, 25, 20), (205, 170, 110), rng.uniform() ** 2),
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
        rim, inner = (_blend(wall, _colour(rng, (0.0, 0.7), (0.2, 0.95)), share) for share in (0.4, 0.25))
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
        wall_top=_blend(wall, (255, 255, 255), rng.uniform(0, 0.25)),
        wall_bottom=_blend(wall, (0, 0, 0), rng.uniform(0, 0.2)),
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
        prop=_blend(PROPS.get(moves, (0, 0, 0)), _colour(rng, (0.2, 0.8), (0.3, 0.9)), rng.uniform(0, 0.5)),
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


# Drawing: points are complex numbers, x to the viewer's right and y up from between the feet, in standing heights -----


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in standing heights onto a canvas; `origin` and `unit` are in canvas pixels."""

    canvas: ImageDraw.ImageDraw
    origin: complex
    unit: float

    def _pixels(self, points: list[complex]) -> list[tuple[float, float]]:
        return [(self.origin.real + p.real * self.unit, self.origin.imag - p.imag * self.unit) for p in points]

    def disc(self, centre: complex, radius: complex, colour: Colour) -> None:
        """An ellipse with `radius.real` across and `radius.imag` up."""
        first, last = self._pixels([centre - radius.conjugate(), centre + radius.conjugate()])
        self.canvas.ellipse([*first, *last], fill=colour)

    def polygon(self, points: list[complex], colour: Colour) -> None:
        self.canvas.polygon(self._pixels(points), fill=colour)

    def box(self, corner: complex, opposite: complex, colour: Colour) -> None:
        across = complex(opposite.real, corner.imag), complex(corner.real, opposite.imag)
        self.polygon([corner, across[0], opposite, across[1]], colour)

    def limb(self, joints: list[complex], radius: float, colours: list[Colour]) -> None:
        """Capsules along the joints, over a darker outline that separates them from the background."""
        rim = [_blend(colour, (0, 0, 0), 0.4) for colour in colours]
        for width, inks in ((radius * 1.3, rim), (radius, colours)):
            for start, end, ink in zip(joints, joints[1:], inks, strict=False):
                side = (end - start) / (abs(end - start) or 1.0) * 1j * width
                self.polygon([start + side, end + side, end - side, start - side], ink)
                for joint in (start, end):
                    self.disc(joint, complex(width, width), ink)


def _knee(hip: complex, foot: complex, length: float, side: int) -> complex:
    """The position of the knee of a two-part leg of `length`, bent outwards and partly towards the viewer."""
    half = abs(foot - hip) / 2
    bend = math.sqrt(max(0.0, (length / 2) ** 2 - half**2))
    return (hip + foot) / 2 + side * 0.75 * bend


def _draw_leg(pen: Pen, actor: Actor, hips: complex, stance: float, side: int, seated: bool) -> None:
    hip, foot = hips + side * actor.hip, complex(side * stance, 0.02)
    knee = complex(side * (actor.hip + 0.05), hip.imag - 0.03) if seated else _knee(hip, foot, actor.leg, side)
    pen.limb([hip, knee, foot], actor.limb * 1.2, [actor.trousers, actor.shin])
    pen.limb([foot - 0.01j, foot + side * 0.035 - 0.01j], actor.limb * 0.8, [actor.shoes])


def _draw_arm(pen: Pen, actor: Actor, shoulder: complex, angles: tuple[float, float], side: int) -> None:
    """An arm whose upper and lower parts are raised outwards by `angles` radians from hanging down."""
    joints = [shoulder]
    for angle in angles:
        joints.append(joints[-1] + actor.arm / 2 * complex(side * math.sin(angle), -math.cos(angle)))
    pen.limb(joints, actor.limb, [actor.sleeve, actor.forearm])
    pen.disc(joints[-1], complex(1.05, 1.05) * actor.limb, actor.skin)


def _draw_head(pen: Pen, actor: Actor, neck: complex) -> None:
    centre, radius = neck + 1j * (0.17 - actor.head), actor.head
    pen.limb([neck, centre], 0.03, [actor.skin])
    pen.disc(centre + 0.008j, complex(1.12, 1.18) * radius, actor.hair)
    pen.disc(centre - 0.018j, complex(0.92, 1.0) * radius, actor.skin)
    for side in (-1, 1):
        pen.disc(centre + side * 0.4 * radius - 0.01j, complex(0.009, 0.012), (30, 25, 25))


def _draw_chair(pen: Pen, seat: float, colour: Colour) -> None:
    dark = _blend(colour, (0, 0, 0), 0.45)
    pen.box(complex(-0.25, seat), complex(0.25, seat + 0.46), dark)
    pen.box(complex(-0.22, seat), complex(0.22, seat + 0.43), colour)
    for side in (-1, 1):
        pen.box(complex(side * 0.19, -0.01), complex(side * 0.25, seat), dark)
    pen.box(complex(-0.26, seat - 0.06), complex(0.26, seat + 0.01), colour)


def _draw_box(pen: Pen, centre: complex, colour: Colour) -> None:
    pen.box(centre - complex(0.2, 0.14), centre + complex(0.2, 0.14), _blend(colour, (0, 0, 0), 0.45))
    pen.box(centre - complex(0.18, 0.12), centre + complex(0.18, 0.12), colour)
    pen.box(centre - complex(0.03, 0.12), centre + complex(0.03, 0.12), _blend(colour, (255, 255, 255), 0.4))


def _draw_figure(pen: Pen, actor: Actor, motion: Motion, time: float) -> None:
    """The figure at `time` (0 to 1 of the clip)."""
    moved, seated, boxed = extent(motion, time), motion.moves == "chair", motion.moves == "box"
    sway = motion.sway * math.sin(2 * math.pi * (motion.phase + motion.sway_hz * SECONDS * time))
    stance = motion.stance
    if motion.moves == "sideways":  # the legs open and close through the stances of other clips
        stance = 0.07 + 0.07 * abs(2 * ((motion.phase + motion.shuffle_hz * SECONDS * time) % 1) - 1)
    drop = motion.depth * moved if motion.moves == "knees" else 0.0
    hips = complex(sway * 0.5, 0.29 if seated else actor.leg - drop)
    chest = hips + complex(sway, 0.81 - actor.leg)
    pen.disc(-0.015j, complex(0.24, 0.035), (45, 40, 40))
    if seated:
        _draw_chair(pen, 0.25, motion.prop)
    for side in (-1, 1):
        _draw_leg(pen, actor, hips, stance, side, seated)
    corners = [chest - actor.shoulder, chest + actor.shoulder, hips + actor.hip * 1.3, hips - actor.hip * 1.3]
    pen.limb([*corners, corners[0]], 0.025, [actor.shirt] * 4)
    pen.polygon(corners, actor.shirt)
    _draw_head(pen, actor, chest + 0.02j)
    raised = motion.angle_low + (motion.angle_high - motion.angle_low) * (moved if motion.moves == "arms" else 0.0)
    for side in (-1, 1):
        upper = math.radians(30) if boxed else raised + side * motion.angle_skew
        lower = math.radians(-10) if boxed else upper + motion.elbow
        _draw_arm(pen, actor, chest + side * actor.shoulder, (upper, lower), side)
    if boxed:
        _draw_box(pen, chest - 0.23j, motion.prop)


def _texture(scene: Scene, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Grey levels to add to the wall and floor, float32 (height, width, 1)."""
    rows, columns = np.mgrid[:height, :width] / SUPERSAMPLE
    if scene.texture == "stripes":
        pattern = np.sign(np.sin(2 * np.pi * columns / scene.pitch))
    elif scene.texture == "boards":
        pattern = np.where(rows % scene.pitch < 1, -2.0, 0.0)
    elif scene.texture == "grain":
        coarse = rng.standard_normal((height // 6 + 1, width // 6 + 1))
        pattern = np.kron(coarse, np.ones((6, 6)))[:height, :width]
    else:
        pattern = np.zeros((height, width))
    return (scene.contrast * pattern).astype(np.float32)[..., None]


def draw_background(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The empty room, `SUPERSAMPLE` times as large as the frame with its margin."""
    width, height = (SUPERSAMPLE * (side + 2 * MARGIN) for side in (WIDTH, HEIGHT))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    room = np.array(scene.wall_top) * (1 - ramp) + np.array(scene.wall_bottom) * ramp
    room = np.repeat(room, width, axis=1)
    edge = round(SUPERSAMPLE * (scene.horizon + MARGIN))
    room[edge:] = np.array(scene.floor) * (0.85 + 0.3 * ramp[: height - edge] / ramp[height - edge])
    room[edge : edge + 2 * SUPERSAMPLE] *= 0.7  # the skirting board
    room += _texture(scene, rng, height, width)
    image = Image.fromarray(room.clip(0, 255).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    for patch in scene.furniture:
        corners = [SUPERSAMPLE * (x + MARGIN) for x in (patch.left, patch.top, patch.right, patch.bottom)]
        canvas.rectangle(corners, fill=patch.inner, outline=patch.rim, width=2 * SUPERSAMPLE)
    return image


def _shake(scene: Scene, motion: Motion, time: float) -> tuple[int, int]:
    """The camera's displacement in canvas pixels, at most `MARGIN` frame pixels."""
    turns = zip(motion.shake_phase, (1.0, 3.0, 1.4, 3.6), strict=True)
    waves = [math.sin(2 * math.pi * (phase + cycles * time)) for phase, cycles in turns]
    scale = SUPERSAMPLE * scene.shake
    return round(scale * (waves[0] + 0.5 * waves[1])), round(scale * (waves[2] + 0.5 * waves[3]))


def render_frames(seed: int, group: str, label: str) -> Iterator[np.ndarray]:
    """The frames of one clip, uint8 (HEIGHT, WIDTH, 3)."""
    actor, scene, motion = draw_clip(seed, group, label)
    background = draw_background(scene, _random(seed, group, "texture"))
    rng = _random(seed, group, label, "noise")
    for index in range(FRAMES):
        time = (index + 0.5) / FRAMES
        across = motion.offset + (motion.travel * (extent(motion, time) - 0.5) if motion.moves == "sideways" else 0.0)
        origin = complex(WIDTH / 2 + HEIGHT * across + MARGIN, HEIGHT * scene.feet + MARGIN)
        image = background.copy()
        _draw_figure(
            Pen(ImageDraw.Draw(image), SUPERSAMPLE * origin, SUPERSAMPLE * HEIGHT * scene.height), actor, motion, time
        )
        right, down = _shake(scene, motion, time)
        left, top = SUPERSAMPLE * MARGIN + right, SUPERSAMPLE * MARGIN + down
        frame = image.crop((left, top, left + SUPERSAMPLE * WIDTH, top + SUPERSAMPLE * HEIGHT)).reduce(SUPERSAMPLE)
        light = scene.gain + scene.drift * math.sin(2 * math.pi * (motion.phase + scene.drift_hz * SECONDS * time))
        grain = scene.noise * rng.standard_normal((HEIGHT, WIDTH, 3), dtype=np.float32)
        yield (np.asarray(frame, np.float32) * light + grain).clip(0, 255).astype(np.uint8)


def draw_clip(seed: int, group: str, label: str) -> tuple[Actor, Scene, Motion]:
    """All parameters of one clip; the actor and the scene are those of its whole group."""
    actor = draw_actor(_random(seed, group, "actor"))
    scene = draw_scene(_random(seed, group, "scene"), actor)
    return actor, scene, draw_motion(_random(seed, group, label), label)
