"""Seeded rooms: what stands where. The scene graph is the source of every answer.

World frame: metres, z up, origin on the floor at the centre of the room, walls along x and y. A room is a
pure function of (version, seed); this module knows neither cameras nor pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vega3d.errors import ConfigError
from vega3d.geometry import OrientedBox, footprint, outlines_overlap, rotation
from vega3d.rooms.catalogue import COLOURS, KINDS, Kind, Shape

ROOMS_VERSION = 1
"""Raised whenever the same seed would give another room."""

TEXTURES = ("plain", "checker", "stripes", "noise")
_GAP = 0.12  # metres kept free between two footprints, so that "closest to" is never a touch


@dataclass(frozen=True)
class Surface:
    """How a surface looks: RGB in 0..1, a texture, its period in metres, contrast and phase (3,)."""

    colour: tuple[float, float, float]
    texture: int
    period: float
    contrast: float
    phase: tuple[float, float, float]


@dataclass(frozen=True)
class Primitive:
    """A box, or an upright cylinder whose diameter is ``box.size[0]``; in world coordinates."""

    shape: Shape
    box: OrientedBox
    surface: Surface


@dataclass(frozen=True)
class Instance:
    """One thing: ``id`` >= 1 is its value in the id images; ``box`` is tight around its primitives."""

    id: int
    category: str
    colour: str
    box: OrientedBox
    primitives: tuple[Primitive, ...]


@dataclass(frozen=True)
class Room:
    """A room of ``size`` (x, y, height) metres with its things, its shell's surfaces and its light."""

    seed: int
    size: tuple[float, float, float]
    instances: tuple[Instance, ...]
    floor: Surface
    walls: Surface
    ceiling: Surface
    light: tuple[float, float, float]

    @property
    def name(self) -> str:
        """Scene name, unique for the seed."""
        return f"room_{self.seed:09d}"

    @cached_property
    def by_category(self) -> dict[str, list[Instance]]:
        """Instances by category."""
        groups: dict[str, list[Instance]] = {}
        for instance in self.instances:
            groups.setdefault(instance.category, []).append(instance)
        return groups


def make_room(seed: int) -> Room:
    """The room of this seed: 4-7 m on a side, up to about ten things on ten kinds, none overlapping."""
    if seed < 0:
        raise ConfigError("A room's seed cannot be negative.", got=seed, expected="an integer >= 0")
    rng = np.random.default_rng([ROOMS_VERSION, seed])
    size = (_uniform(rng, 4.0, 7.0), _uniform(rng, 4.0, 7.0), _uniform(rng, 2.6, 3.0))
    floor = _surface(
        rng, _shade(rng, [(0.55, 0.42, 0.30), (0.45, 0.45, 0.47), (0.62, 0.56, 0.48)]), 0.8, 0.12
    )
    walls = _surface(
        rng, _shade(rng, [(0.80, 0.78, 0.70), (0.72, 0.78, 0.82), (0.78, 0.72, 0.72)]), 1.2, 0.05
    )
    light = (_uniform(rng, -1, 1), _uniform(rng, -1, 1), size[2] - 0.2)
    ceiling = Surface((0.85, 0.85, 0.84), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
    return Room(seed, size, _furnish(rng, size), floor, walls, ceiling, light)


def _furnish(rng: np.random.Generator, size: tuple[float, float, float]) -> tuple[Instance, ...]:
    """Draw the list of categories, place the large ones first, drop what finds no place."""
    wanted = sorted(_shopping_list(rng), key=lambda name: -KINDS[name].width[1] * KINDS[name].depth[1])
    placed: list[Instance] = []
    outlines: list[np.ndarray] = []
    for category in wanted:
        kind = KINDS[category]
        extent = _draw_size(rng, kind)
        box = _find_place(rng, extent, size, outlines)
        if box is None:
            continue
        outlines.append(footprint(_grown(box)))
        placed.append(_build(rng, len(placed) + 1, category, kind, box))
    return tuple(placed)


def _shopping_list(rng: np.random.Generator) -> list[str]:
    """Four to six kinds once, and one or two kinds two to four times (so that counts are even)."""
    names = list(rng.permutation(list(KINDS)))
    singles = int(rng.integers(4, 7))
    wanted = names[:singles]
    small = [n for n in names[singles:] if KINDS[n].width[1] * KINDS[n].depth[1] < 2.1]
    for name in small[: int(rng.integers(1, 3))]:
        wanted += [name] * int(rng.integers(2, 5))
    return [str(name) for name in wanted]


def _draw_size(rng: np.random.Generator, kind: Kind) -> tuple[float, float, float]:
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


def _build(rng: np.random.Generator, number: int, category: str, kind: Kind, box: OrientedBox) -> Instance:
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
    return Surface(colour, int(rng.integers(len(TEXTURES))), period, contrast, phase)


def _shade(rng: np.random.Generator, choices: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    picked = choices[int(rng.integers(len(choices)))]
    gain = _uniform(rng, 0.9, 1.1)
    return (picked[0] * gain, picked[1] * gain, picked[2] * gain)


def _grown(box: OrientedBox) -> OrientedBox:
    return OrientedBox(box.centre, (box.size[0] + 2 * _GAP, box.size[1] + 2 * _GAP, box.size[2]), box.yaw)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))
