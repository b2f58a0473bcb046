"""Draws the frames of a default clip. Points are complex numbers in standing heights: x to the viewer's right, y up from between
the feet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from expand.data.synthetic.scenes import (
    FRAMES,
    HEIGHT,
    SECONDS,
    WIDTH,
    Actor,
    Colour,
    Motion,
    Scene,
    blend,
    draw_clip,
    extent,
    seeded,
)

SUPERSAMPLE = 3
MARGIN = 4  # pixels of background beyond the frame, for the camera's shake


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
        rim = [blend(colour, (0, 0, 0), 0.4) for colour in colours]
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
    dark = blend(colour, (0, 0, 0), 0.45)
    pen.box(complex(-0.25, seat), complex(0.25, seat + 0.46), dark)
    pen.box(complex(-0.22, seat), complex(0.22, seat + 0.43), colour)
    for side in (-1, 1):
        pen.box(complex(side * 0.19, -0.01), complex(side * 0.25, seat), dark)
    pen.box(complex(-0.26, seat - 0.06), complex(0.26, seat + 0.01), colour)


def _draw_box(pen: Pen, centre: complex, colour: Colour) -> None:
    pen.box(centre - complex(0.2, 0.14), centre + complex(0.2, 0.14), blend(colour, (0, 0, 0), 0.45))
    pen.box(centre - complex(0.18, 0.12), centre + complex(0.18, 0.12), colour)
    pen.box(centre - complex(0.03, 0.12), centre + complex(0.03, 0.12), blend(colour, (255, 255, 255), 0.4))


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
    background = draw_background(scene, seeded(seed, group, "texture"))
    rng = seeded(seed, group, label, "noise")
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
