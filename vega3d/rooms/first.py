"""The first world: ten kinds in bare rooms, as the first pico models were trained on it. Nothing new goes in.

Decision: kept bit for bit (draws from numpy's own generator, one light, no shadows), in this one file, so
that it can be deleted with one `if` in layout.py and one in camera.py once nobody needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import OrientedBox, contains, footprint, look_at, outlines_overlap, rotation
from vega3d.rooms.catalogue import COLOURS, Part
from vega3d.rooms.scene import Instance, Light, Primitive, Room, Surface

_TEXTURES = 4
_GAP = 0.12


@dataclass(frozen=True)
class FirstKind:
    """A category: metre ranges (low, high) of width, depth and height, its colours, its parts."""

    width: tuple[float, float]
    depth: tuple[float, float]
    height: tuple[float, float]
    colours: tuple[str, ...]
    parts: tuple[Part, ...]
    round: bool = False


def _legs(thick: float, top: float, inset: float = 0.0, tint: float = 0.6) -> tuple[Part, ...]:
    edge = 0.5 - thick / 2 - inset
    size = (thick, thick, top)
    return tuple(Part("box", (x, y, top / 2), size, tint) for x in (-edge, edge) for y in (-edge, edge))


def _boards(count: int) -> tuple[Part, ...]:
    step = 0.96 / (count - 1)
    return tuple(Part("box", (0, -0.02, 0.02 + i * step), (0.92, 0.96, 0.04), 0.8) for i in range(count))


FIRST_KINDS: dict[str, FirstKind] = {
    "bed": FirstKind((1.1, 1.9), (1.7, 2.3), (0.7, 1.1), ("pink", "white", "green", "blue"), (
        Part("box", (0, -0.02, 0.25), (1.0, 0.96, 0.5)),
        Part("box", (0, 0.48, 0.5), (1.0, 0.04, 1.0), 0.6),
        Part("box", (0, 0.33, 0.56), (0.8, 0.18, 0.12), 1.25),
    )),
    "cabinet": FirstKind((0.6, 1.2), (0.4, 0.7), (0.8, 1.5), ("white", "purple", "orange", "red"), (
        Part("box", (0, 0.02, 0.5), (1.0, 0.96, 1.0)),
        Part("box", (-0.25, -0.48, 0.5), (0.44, 0.04, 0.9), 0.75),
        Part("box", (0.25, -0.48, 0.5), (0.44, 0.04, 0.9), 0.75),
    )),
    "chair": FirstKind((0.4, 0.65), (0.4, 0.65), (0.8, 1.25), ("red", "yellow", "blue", "green"), (
        Part("box", (0, 0, 0.46), (1.0, 1.0, 0.08)),
        Part("box", (0, 0.45, 0.75), (1.0, 0.1, 0.5)),
        *_legs(0.12, 0.42),
    )),
    "lamp": FirstKind((0.35, 0.55), (0.35, 0.55), (1.2, 1.9), ("yellow", "white", "orange", "pink"), (
        Part("cylinder", (0, 0, 0.02), (0.8, 0.8, 0.04), 0.4),
        Part("cylinder", (0, 0, 0.4), (0.12, 0.12, 0.76), 0.4),
        Part("cylinder", (0, 0, 0.87), (1.0, 1.0, 0.26), 1.1),
    ), round=True),
    "plant": FirstKind((0.45, 0.8), (0.45, 0.8), (0.8, 1.5), ("green",), (
        Part("cylinder", (0, 0, 0.15), (0.5, 0.5, 0.3), 0.45),
        Part("cylinder", (0, 0, 0.45), (1.0, 1.0, 0.3)),
        Part("cylinder", (0, 0, 0.7), (0.75, 0.75, 0.2), 1.15),
        Part("cylinder", (0, 0, 0.9), (0.4, 0.4, 0.2), 1.3),
    ), round=True),
    "shelf": FirstKind((0.7, 1.4), (0.3, 0.45), (1.4, 2.0), ("brown", "white", "orange"), (
        Part("box", (-0.48, 0, 0.5), (0.04, 1.0, 1.0)),
        Part("box", (0.48, 0, 0.5), (0.04, 1.0, 1.0)),
        Part("box", (0, 0.48, 0.5), (0.92, 0.04, 1.0), 0.55),
        *_boards(5),
    )),
    "sofa": FirstKind((1.4, 2.4), (0.75, 1.0), (0.7, 1.0), ("blue", "purple", "red", "black"), (
        Part("box", (0, 0, 0.22), (1.0, 1.0, 0.44)),
        Part("box", (0, 0.4, 0.72), (1.0, 0.2, 0.56)),
        Part("box", (-0.45, -0.1, 0.55), (0.1, 0.8, 0.22), 0.8),
        Part("box", (0.45, -0.1, 0.55), (0.1, 0.8, 0.22), 0.8),
    )),
    "stool": FirstKind((0.3, 0.5), (0.3, 0.5), (0.4, 0.7), ("purple", "pink", "orange", "black"), (
        Part("cylinder", (0, 0, 0.9), (1.0, 1.0, 0.2)),
        Part("cylinder", (0, 0, 0.4), (0.6, 0.6, 0.8), 0.7),
    ), round=True),
    "table": FirstKind((0.9, 1.8), (0.7, 1.1), (0.6, 0.85), ("brown", "white", "yellow", "green"), (
        Part("box", (0, 0, 0.95), (1.0, 1.0, 0.1)),
        *_legs(0.08, 0.9, 0.04),
    )),
    "tv": FirstKind((0.8, 1.6), (0.25, 0.4), (0.8, 1.3), ("black",), (
        Part("box", (0, 0, 0.1), (0.7, 1.0, 0.2), 3.0),
        Part("box", (0, 0, 0.25), (0.12, 0.3, 0.1), 3.0),
        Part("box", (0, 0, 0.65), (1.0, 0.2, 0.7), 0.7),
    )),
}  # fmt: skip


def make_first_room(seed: int) -> Room:
    """The room of this seed: 4-7 m on a side, up to about ten things of ten kinds, none overlapping."""
    rng = np.random.default_rng([1, seed])
    size = (_uniform(rng, 4.0, 7.0), _uniform(rng, 4.0, 7.0), _uniform(rng, 2.6, 3.0))
    floor = _surface(
        rng, _shade(rng, [(0.55, 0.42, 0.30), (0.45, 0.45, 0.47), (0.62, 0.56, 0.48)]), 0.8, 0.12
    )
    walls = _surface(
        rng, _shade(rng, [(0.80, 0.78, 0.70), (0.72, 0.78, 0.82), (0.78, 0.72, 0.72)]), 1.2, 0.05
    )
    light = (_uniform(rng, -1, 1), _uniform(rng, -1, 1), size[2] - 0.2)
    ceiling = Surface((0.85, 0.85, 0.84), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
    return Room(seed, size, _furnish(rng, size), floor, walls, ceiling, (Light(light),), version=1)


def _furnish(rng: np.random.Generator, size: tuple[float, float, float]) -> tuple[Instance, ...]:
    """Draw the list of categories, place the large ones first, drop what finds no place."""
    wanted = sorted(
        _shopping_list(rng), key=lambda name: -FIRST_KINDS[name].width[1] * FIRST_KINDS[name].depth[1]
    )
    placed: list[Instance] = []
    outlines: list[np.ndarray] = []
    for category in wanted:
        kind = FIRST_KINDS[category]
        extent = _draw_size(rng, kind)
        box = _find_place(rng, extent, size, outlines)
        if box is None:
            continue
        outlines.append(footprint(_grown(box)))
        placed.append(_build(rng, len(placed) + 1, category, kind, box))
    return tuple(placed)


def _shopping_list(rng: np.random.Generator) -> list[str]:
    """Four to six kinds once, and one or two kinds two to four times (so that counts are even)."""
    names = list(rng.permutation(list(FIRST_KINDS)))
    singles = int(rng.integers(4, 7))
    wanted = names[:singles]
    small = [n for n in names[singles:] if FIRST_KINDS[n].width[1] * FIRST_KINDS[n].depth[1] < 2.1]
    for name in small[: int(rng.integers(1, 3))]:
        wanted += [name] * int(rng.integers(2, 5))
    return [str(name) for name in wanted]


def _draw_size(rng: np.random.Generator, kind: FirstKind) -> tuple[float, float, float]:
    width = _uniform(rng, *kind.width)
    depth = width if kind.round else _uniform(rng, *kind.depth)
    return width, depth, _uniform(rng, *kind.height)


def _find_place(
    rng: np.random.Generator,
    extent: tuple[float, float, float],
    room: tuple[float, float, float],
    outlines: list[np.ndarray],
) -> OrientedBox | None:
    """A free upright place, at most 100 tries; yaw is near a multiple of 90 degrees, as in a home."""
    for _ in range(100):
        yaw = float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.1))
        x, y = (_uniform(rng, -side / 2, side / 2) for side in room[:2])
        box = OrientedBox((x, y, extent[2] / 2), extent, yaw)
        outline = footprint(box)
        inside = (np.abs(outline) < np.asarray(room[:2]) / 2 - 0.05).all()
        if inside and not any(outlines_overlap(outline, other) for other in outlines):
            return box
    return None


def _build(
    rng: np.random.Generator, number: int, category: str, kind: FirstKind, box: OrientedBox
) -> Instance:
    """Scale the kind's unit parts into the box and colour them."""
    colour = str(rng.choice(list(kind.colours)))
    # A share of things has almost no texture, so that matching by texture alone is not enough.
    base = _surface(rng, COLOURS[colour], _uniform(rng, 0.15, 0.4), 0.02 if rng.random() < 0.3 else 0.18)
    turn, primitives = rotation(box.yaw), []
    for part in kind.parts:
        size = tuple(float(a * b) for a, b in zip(part.size, box.size, strict=True))
        xy = turn @ (np.asarray(part.centre[:2]) * np.asarray(box.size[:2])) + np.asarray(box.centre[:2])
        place = OrientedBox((float(xy[0]), float(xy[1]), part.centre[2] * box.size[2]), size, box.yaw)  # type: ignore[arg-type]
        tinted = tuple(float(min(1.0, c * part.tint)) for c in base.colour)
        surface = Surface(tinted, base.texture, base.period, base.contrast, base.phase)  # type: ignore[arg-type]
        primitives.append(Primitive(part.shape, place, surface))
    return Instance(number, category, colour, box, tuple(primitives))


def _surface(
    rng: np.random.Generator, colour: tuple[float, float, float], period: float, contrast: float
) -> Surface:
    phase = (_uniform(rng, 0, 1), _uniform(rng, 0, 1), _uniform(rng, 0, 1))
    return Surface(colour, int(rng.integers(_TEXTURES)), period, contrast, phase)


def _shade(rng: np.random.Generator, choices: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    picked = choices[int(rng.integers(len(choices)))]
    gain = _uniform(rng, 0.9, 1.1)
    return (picked[0] * gain, picked[1] * gain, picked[2] * gain)


def _grown(box: OrientedBox) -> OrientedBox:
    return OrientedBox(box.centre, (box.size[0] + 2 * _GAP, box.size[1] + 2 * _GAP, box.size[2]), box.yaw)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def first_path(room: Room, frames: int) -> NDArray[np.float64]:
    """(frames, 4, 4) camera-to-world poses along the room's path, first to last."""
    rng = np.random.default_rng([1, room.seed, 1])
    s = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    for attempt in range(30):
        # Ever higher, so that the last attempts look over everything.
        height = rng.uniform(1.6, 2.1) if attempt < 20 else min(2.2, room.size[2] - 0.3)
        draw = _orbit if rng.random() < 0.6 else _pan
        state = rng.bit_generator.state
        # Judged on a fixed dense sampling, so that the choice does not depend on the number of frames.
        clear = _is_clear(room, draw(rng, room, np.linspace(0, 1, 64), float(height))[:, :3, 3])
        if clear or attempt == 30 - 1:
            rng.bit_generator.state = state
            return draw(rng, room, s, float(height))
    raise AssertionError("unreachable: the last attempt returns")


def _is_clear(room: Room, eyes: NDArray[np.float64]) -> bool:
    """Whether no camera centre (frames, 3) comes within the clearance of a thing."""
    return not any(contains(thing.box, eyes, 0.5).any() for thing in room.instances)


def _orbit(
    rng: np.random.Generator, room: Room, s: NDArray[np.float64], height: float
) -> NDArray[np.float64]:
    """An arc of 100 to 220 degrees on an ellipse just inside the walls, looking at the middle."""
    radius = np.asarray(room.size[:2]) / 2 - 0.35
    start = rng.uniform(0, 2 * np.pi)
    span = np.radians(rng.uniform(100, 220)) * rng.choice([-1, 1])
    angle = start + span * s
    eyes = np.stack([radius[0] * np.cos(angle), radius[1] * np.sin(angle), np.full_like(s, height)], axis=1)
    drift = rng.uniform(-0.4, 0.4, size=2)
    targets = np.stack([drift[0] * (1 - s), drift[1] * s, np.full_like(s, rng.uniform(0.3, 0.7))], axis=1)
    return np.stack([look_at(eye, target) for eye, target in zip(eyes, targets, strict=True)])


def _pan(rng: np.random.Generator, room: Room, s: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """A turn of 200 to 300 degrees near the middle, with a slow step sideways for parallax."""
    first, last = rng.uniform(-0.12, 0.12, size=(2, 2)) * np.asarray(room.size[:2])
    eyes = np.empty((len(s), 3))
    eyes[:, :2] = first + (last - first) * s[:, None]
    eyes[:, 2] = height
    angle = rng.uniform(0, 2 * np.pi) + np.radians(rng.uniform(200, 300)) * rng.choice([-1, 1]) * s
    pitch = -rng.uniform(0.25, 0.45)
    ahead = np.stack([np.cos(angle), np.sin(angle), np.full_like(s, pitch)], axis=1)
    return np.stack([look_at(eye, eye + step) for eye, step in zip(eyes, ahead, strict=True)])
