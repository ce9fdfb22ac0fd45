"""The scene graph: a room with its things, shell and lights. It is the source of every answer.

World frame: metres, z up, origin on the floor at the centre of the room, walls along x and y. Numbers of
the graph are rounded to a micrometre, so that the last bit of a machine's cosine changes nothing. This
module does not depend on how rooms are furnished (layout.py), on cameras and on pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from vega3d.geometry import OrientedBox, rotation
from vega3d.rooms.furniture import CATEGORIES, Kind, Shape

K = TypeVar("K")
V = TypeVar("V")
ROOMS_VERSION = 2
"""Raised whenever the same seed would give another room."""

TEXTURES = ("plain", "checker", "stripes", "noise", "wood", "weave", "dots", "veins", "planks", "tiles")
_DIGITS = 6


@dataclass(frozen=True)
class Surface:
    """Look of a surface: RGB in 0..1, a texture, its period in metres, contrast and phase.

    ``phase`` shifts the texture by its first two numbers, in metres on the surface.
    ``glow`` is the share of its colour that it sends out whatever the light (screens, windows, shades); at 1
    and above it takes no light at all.
    """

    colour: tuple[float, float, float]
    texture: int
    period: float
    contrast: float
    phase: tuple[float, float, float]
    glow: float = 0.0


@dataclass(frozen=True)
class Light:
    """A lamp without extent: place in metres, and how bright it is (1 is one lamp lighting a room)."""

    place: tuple[float, float, float]
    power: float = 1.0


@dataclass(frozen=True)
class Motion:
    """A straight move by ``by`` metres from ``start`` to ``end``, as shares of the clip."""

    by: tuple[float, float, float]
    start: float
    end: float

    def offset(self, when: float) -> tuple[float, float, float]:
        """Metres from where the thing stood in the first frame; eased at both ends."""
        s = min(1.0, max(0.0, (when - self.start) / (self.end - self.start)))
        s = s * s * (3 - 2 * s)
        return (self.by[0] * s, self.by[1] * s, self.by[2] * s)


@dataclass(frozen=True)
class Primitive:
    """A box, an upright cylinder or a sphere of diameter ``box.size[0]``; in world coordinates."""

    shape: Shape
    box: OrientedBox
    surface: Surface


@dataclass(frozen=True)
class Instance:
    """One thing: ``id`` >= 1 is its value in the id images; ``box`` is tight around its primitives.

    ``parent`` is the id of the thing that it stands on or hangs on, 0 for floor and walls. A thing with a
    ``motion`` is described where it stands in the first frame.
    """

    id: int
    category: str
    colour: str
    box: OrientedBox
    primitives: tuple[Primitive, ...]
    material: str = "plastic"
    parent: int = 0
    motion: Motion | None = None

    def at(self, when: float) -> Instance:
        """The thing where it is at a share 0..1 of the clip."""
        if self.motion is None:
            return self
        by = self.motion.offset(when)
        parts = tuple(replace(p, box=_moved(p.box, by)) for p in self.primitives)
        return replace(self, box=_moved(self.box, by), primitives=parts, motion=None)


@dataclass(frozen=True)
class Room:
    """A room of ``size`` (x, y, height) metres with its things, its shell's surfaces and its lights.

    ``ambient`` is the light that comes from everywhere; ``shadows`` is True if things darken the floor.
    """

    seed: int
    size: tuple[float, float, float]
    instances: tuple[Instance, ...]
    floor: Surface
    walls: Surface
    ceiling: Surface
    lights: tuple[Light, ...]
    ambient: float = 0.5
    shadows: bool = False
    version: int = ROOMS_VERSION

    @property
    def name(self) -> str:
        """Scene name, unique for the seed."""
        return f"room_{self.seed:09d}"

    @cached_property
    def by_category(self) -> dict[str, list[Instance]]:
        """Instances by category."""
        return grouped((instance.category, instance) for instance in self.instances)

    @property
    def moves(self) -> bool:
        """True if anything in the room moves."""
        return any(thing.motion is not None for thing in self.instances)

    def at(self, when: float) -> Room:
        """The room as it stands at a share 0..1 of the clip."""
        if not self.moves:
            return self
        return replace(self, instances=tuple(thing.at(when) for thing in self.instances))

    @property
    def class_of(self) -> tuple[int, ...]:
        """Class id by instance id: 0 for the shell, else 1 + place of the category in CATEGORIES."""
        return (0, *(1 + CATEGORIES.index(thing.category) for thing in self.instances))


def grouped(pairs: Iterable[tuple[K | None, V]]) -> dict[K, list[V]]:
    """Values by key, in the order of first appearance; what has None for a key is left out."""
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        if key is not None:
            groups.setdefault(key, []).append(value)
    return groups


def upright_box(centre: Sequence[float], size: Sequence[float], yaw: float) -> OrientedBox:
    """A box with the graph's precision."""
    x, y, z = (round(float(v), _DIGITS) for v in centre)
    w, d, h = (round(float(v), _DIGITS) for v in size)
    return OrientedBox((x, y, z), (w, d, h), round(float(yaw), _DIGITS))


def parts_in(kind: Kind, box: OrientedBox, surfaces: Sequence[Surface]) -> tuple[Primitive, ...]:
    """The kind's unit parts scaled into a box; one surface a part."""
    turn, made = rotation(box.yaw), []
    low = box.centre[2] - box.size[2] / 2
    for part, surface in zip(kind.parts, surfaces, strict=True):
        size = [float(a * b) for a, b in zip(part.size, box.size, strict=True)]
        if part.shape != "box":  # stays round
            size = [size[0], size[0], size[0] if part.shape == "sphere" else size[2]]
        xy = turn @ (np.asarray(part.centre[:2]) * np.asarray(box.size[:2])) + np.asarray(box.centre[:2])
        place = (float(xy[0]), float(xy[1]), low + part.centre[2] * box.size[2])
        made.append(Primitive(part.shape, upright_box(place, size, box.yaw), surface))
    return tuple(made)


def _moved(box: OrientedBox, by: tuple[float, float, float]) -> OrientedBox:
    return upright_box([a + b for a, b in zip(box.centre, by, strict=True)], box.size, box.yaw)
