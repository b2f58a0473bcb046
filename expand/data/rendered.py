"""The default data: ten classes of small action clips, drawn from a seed and written as real video files.

A clip shows one articulated figure in a room. Eight of the ten classes are told by motion alone: the four arm classes
share one distribution of arm angles, the two steps one of positions and the two knee classes one of depths, so a
perfect single-frame classifier gets at most half of all clips right (1/4 of four classes, 1/2 of four, all of two).
Time reversal turns a raise into a lowering, a step to the left into one to the right, a crouch into standing up.
Left and right are the viewer's: a horizontal flip swaps `step left` and `step right`.

A group is one actor in one room and has one clip of each class; groups never cross splits. What a clip shows depends on
the seed, its group's name and its class only, so a smaller data set is a part of a larger one.
"""

from __future__ import annotations

import colorsys
import csv
import fcntl
import hashlib
import io
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from expand.errors import ExpandError, UsageError

VERSION = 1
KIND = "expand rendered clips"
WIDTH, HEIGHT, FPS, FRAMES = 128, 96, 16, 32
SECONDS = FRAMES / FPS
SUPERSAMPLE = 3
MARGIN = 4  # pixels of background beyond the frame, for the camera's shake
SLOW_HZ, FAST_HZ = 0.55, 1.2  # a raise is half a cycle in two seconds, 0.25 Hz: each about 2.2 times the last
SERIAL_CLIPS = 40  # up to here, starting a pool costs more than it gains

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
PROPS = {"box": (190, 145, 85), "chair": (60, 70, 130)}  # about what colour a box or a chair has

Colour = tuple[int, int, int]
Progress = Callable[[int, int], None]


# What is drawn: plain values, each a function of the seed and a name ------------------------------------------------


@dataclass(frozen=True)
class Actor:
    """A body in units of its standing height (`leg` is the height of the hips, widths are half widths), and colours."""

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
    """A room, its light and its camera. `height` and `feet` (from the top) are in frame heights, noise and texture in
    grey levels of 255, `gain` and `drift` are factors of brightness, shake is in pixels."""

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
    """One clip's movement. `moves` and `course` come from the class; everything else has one distribution for all
    classes. `low_hold` and `high_hold` are shares of the range's two ends, angles in radians from hanging down, lengths
    in standing heights but `travel` and `offset` in frame heights, phases in turns."""

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
    """How far through its range the moving part is, 0 to 1, at `time` (0 to 1 of the clip).

    The same profile of holds and ease is run through once or to and fro as a triangle wave from a random phase, so at a
    uniformly random time every course has the same distribution.
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
        """Capsules along the joints, over a darker outline that sets them off from what lies behind."""
        rim = [_blend(colour, (0, 0, 0), 0.4) for colour in colours]
        for width, inks in ((radius * 1.3, rim), (radius, colours)):
            for start, end, ink in zip(joints, joints[1:], inks, strict=False):
                side = (end - start) / (abs(end - start) or 1.0) * 1j * width
                self.polygon([start + side, end + side, end - side, start - side], ink)
                for joint in (start, end):
                    self.disc(joint, complex(width, width), ink)


def _knee(hip: complex, foot: complex, length: float, side: int) -> complex:
    """Where the knee of a two-part leg of `length` lies, bent outwards and partly towards the viewer."""
    half = abs(foot - hip) / 2
    bend = math.sqrt(max(0.0, (length / 2) ** 2 - half**2))
    return (hip + foot) / 2 + side * 0.75 * bend


def _draw_leg(pen: Pen, actor: Actor, hips: complex, stance: float, side: int, seated: bool) -> None:
    hip, foot = hips + side * actor.hip, complex(side * stance, 0.02)
    knee = complex(side * (actor.hip + 0.05), hip.imag - 0.03) if seated else _knee(hip, foot, actor.leg, side)
    pen.limb([hip, knee, foot], actor.limb * 1.2, [actor.trousers, actor.shin])
    pen.limb([foot - 0.01j, foot + side * 0.035 - 0.01j], actor.limb * 0.8, [actor.shoes])


def _draw_arm(pen: Pen, actor: Actor, shoulder: complex, angles: tuple[float, float], side: int) -> None:
    """An arm whose upper and lower part point away from hanging by `angles` radians, outwards."""
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
    if motion.moves == "sideways":  # the legs open and close through the stances that other clips stand in
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


# Files ----------------------------------------------------------------------------------------------------------------


def _codec() -> tuple[str, dict[str, str]]:
    """H.264, or MPEG-4 where PyAV was built without it; one thread, so that the bytes do not depend on the cores."""
    try:
        av.Codec("libx264", "w")
    except ValueError:  # PyAV's UnknownCodecError
        return "mpeg4", {"qmin": "2", "qmax": "4", "threads": "1"}
    return "libx264", {"crf": "20", "preset": "medium", "sc_threshold": "0", "threads": "1"}


def encode(frames: Iterator[np.ndarray]) -> bytes:
    """An mp4 file of uint8 (HEIGHT, WIDTH, 3) frames, with a keyframe every eight."""
    codec, options = _codec()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 8
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True)
class Clip:
    """One file to render, and its `path` relative to the data set's folder."""

    seed: int
    split: str
    group: str
    label: str

    @property
    def path(self) -> str:
        return f"videos/{self.split}/{self.label}/{self.group}.mp4"


def _clips(seed: int, groups: dict[str, int]) -> list[Clip]:
    return [
        Clip(seed, split, f"{split}-{number:03d}", label)
        for split, count in groups.items()
        for number in range(count)
        for label in CLASSES
    ]


def _render_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """Render one file below `folder`; its entry in the manifest."""
    video = encode(render_frames(clip.seed, clip.group, clip.label))
    (folder / clip.path).write_bytes(video)
    return {
        "path": clip.path,
        "label": clip.label,
        "group": clip.group,
        "split": clip.split,
        "sha256": hashlib.sha256(video).hexdigest(),
        "bytes": len(video),
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "frames": FRAMES,
        "motion": asdict(draw_clip(clip.seed, clip.group, clip.label)[2]),
    }


def _render_clips(clips: list[Clip], folder: Path, progress: Progress | None) -> list[dict[str, Any]]:
    """Render all clips, in a pool of processes where there are many; their entries, in the order of `clips`."""
    report = progress or (lambda done, total: None)
    entries = []
    report(0, len(clips))
    if len(clips) <= SERIAL_CLIPS or multiprocessing.current_process().daemon:  # a daemon may not have children
        for clip in clips:
            entries.append(_render_clip(clip, folder))
            report(len(entries), len(clips))
        return entries
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for entry in pool.map(_render_clip, clips, [folder] * len(clips), chunksize=len(CLASSES)):
                entries.append(entry)
                report(len(entries), len(clips))
        except BrokenProcessPool as error:
            raise ExpandError(
                f"a process that rendered died after {len(entries)} of {len(clips)} clips: the machine is out of "
                "memory, or a script calls this outside `if __name__ == '__main__':`"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return entries


def _parameters(seed: int, groups: dict[str, int]) -> dict[str, Any]:
    """What a data set is a function of: the beginning of its manifest."""
    return {"kind": KIND, "version": VERSION, "seed": seed, "groups": groups, "classes": list(CLASSES)}


def _write_lists(folder: Path, splits: dict[str, int], entries: list[dict[str, Any]]) -> None:
    for split in splits:
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "group"])
            writer.writerows([e["path"], e["label"], e["group"]] for e in entries if e["split"] == split)


def _write_manifest(folder: Path, seed: int, groups: dict[str, int], entries: list[dict[str, Any]]) -> None:
    """`manifest.json`: the parameters, each group's actor and scene, each file with its checksum and motion."""
    rooms = {}
    for name in dict.fromkeys(entry["group"] for entry in entries):
        actor, scene, _ = draw_clip(seed, name, CLASSES[0])
        rooms[name] = {"actor": asdict(actor), "scene": asdict(scene)}
    document = {**_parameters(seed, groups), "codec": _codec()[0], "rooms": rooms, "files": entries}
    (folder / "manifest.json").write_text(json.dumps(document) + "\n")


def _groups(train: int, val: int, test: int) -> dict[str, int]:
    groups = {"train": train, "val": val, "test": test}
    for split, count in groups.items():
        if not 1 <= count <= 999:
            raise UsageError(f"{split}_groups is {count}; it must be 1 to 999")
    return groups


def default_folder() -> Path:
    """Where the default data lie: below the cache root, one folder a version."""
    from expand.data.manifest import cache_root

    return cache_root() / f"rendered-v{VERSION}"


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, or an empty one where there is none that can be read."""
    try:
        document = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_whole(folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether `folder` was rendered with these parameters and every file is there in its size."""
    manifest = _read_manifest(folder)
    if any(manifest.get(name) != value for name, value in parameters.items()):
        return False
    files = [(folder / entry["path"], entry["bytes"]) for entry in manifest["files"]]
    lists = all((folder / f"{split}.csv").is_file() for split in parameters["groups"])
    return lists and all(path.is_file() and path.stat().st_size == size for path, size in files)


def _refuse_foreign(folder: Path) -> None:
    """Only an empty folder, the default one or one with our manifest may be replaced: nothing else was made here."""
    if not folder.exists() or folder == default_folder() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if _read_manifest(folder).get("kind") != KIND:
        raise UsageError(f"{folder} exists and is not a rendered data set; remove it or name another folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock file beside `folder`; a second process waits here until the first has rendered."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # our parent holds the lock and waits for us
        raise UsageError("rendering starts processes: call it inside `if __name__ == '__main__':`")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f".{folder.name}.lock").open("w")
    except OSError as error:
        raise ExpandError(f"cannot write beside {folder}: {error}; set EXPAND_CACHE to a folder of yours") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _render(folder: Path, seed: int, groups: dict[str, int], progress: Progress | None) -> None:
    """Render beside `folder` and rename: it appears complete or not at all. The lock must be held."""
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("partial", "old"))
    try:
        for left in (fresh, old):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        for split in groups:
            for label in CLASSES:
                (fresh / "videos" / split / label).mkdir(parents=True)
        entries = _render_clips(_clips(seed, groups), fresh, progress)
        _write_lists(fresh, groups, entries)
        _write_manifest(fresh, seed, groups, entries)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except OSError as error:
        raise ExpandError(f"cannot render to {folder}: {error}; free some space or name another folder") from error
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def render_dataset(
    folder: Path,
    *,
    seed: int = 0,
    train_groups: int = 44,
    val_groups: int = 16,
    test_groups: int = 16,
    progress: Progress | None = None,
) -> Path:
    """Render the data set to `folder`, in the place of a rendered one that is there; returns the folder.

    It holds `videos/<split>/<class>/<group>.mp4`, `train.csv`, `val.csv`, `test.csv` (`path,label,group`) and
    `manifest.json`: one clip a class and group. `progress` is told (clips done, clips in all). Raises `UsageError`
    where the folder holds something else or a count is out of range, `ExpandError` where it cannot be written.
    """
    folder = Path(folder).absolute()
    groups = _groups(train_groups, val_groups, test_groups)
    _refuse_foreign(folder)
    with _locked(folder):
        _render(folder, seed, groups, progress)
    return folder


def ensure_rendered(
    folder: Path | None = None,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    train_groups: int = 44,
    val_groups: int = 16,
    test_groups: int = 16,
) -> Path:
    """The data set's folder (the default one unless named), rendered if it is not there whole with these parameters.

    Safe when several processes call it at once: one renders, the others wait. A whole copy is only read, so it may lie
    on a read-only disk. Raises what `render_dataset` raises.
    """
    folder = default_folder() if folder is None else Path(folder).absolute()
    groups = _groups(train_groups, val_groups, test_groups)
    parameters = _parameters(seed, groups)
    if _is_whole(folder, parameters):
        return folder
    _refuse_foreign(folder)
    with _locked(folder):
        if not _is_whole(folder, parameters):
            _render(folder, seed, groups, progress)
    return folder


def verify(folder: Path) -> list[str]:
    """Every problem of a rendered folder against its manifest's checksums, one line each; empty where all is well."""
    manifest = _read_manifest(folder)
    if manifest.get("kind") != KIND:
        return [f"{folder / 'manifest.json'}: missing, unreadable or not of rendered clips"]
    problems = []
    for entry in manifest["files"]:
        path = folder / entry["path"]
        if not path.is_file():
            problems.append(f"{entry['path']}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            problems.append(f"{entry['path']}: its checksum differs from the manifest's")
    return problems
