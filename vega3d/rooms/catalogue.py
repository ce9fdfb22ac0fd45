"""The words of the world: shapes, colours, materials, and what a kind of thing is.

Decision: a kind is a table of parts in *unit* coordinates (x and y in -0.5..0.5, z in 0..1, front towards
-y), scaled into a box; so a new kind is a new row of furniture.py and no code. The longest side is drawn
log-uniformly from a wide range: the size of one chair must not be knowable without looking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["box", "cylinder", "sphere"]
Place = Literal["wall", "floor", "hung", "top"]


@dataclass(frozen=True)
class Part:
    """One primitive: ``centre`` and ``size`` in unit coordinates; ``tint`` scales the thing's colour.

    ``colour`` replaces the thing's colour (a name), ``glow`` is light of its own, a ``plain`` part never
    has the thing's texture.
    """

    shape: Shape
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    tint: float = 1.0
    colour: str | None = None
    glow: float = 0.0
    plain: bool = False


@dataclass(frozen=True)
class Support:
    """A plane that carries things: unit height ``z``, reach in unit x and y, free unit height above it."""

    z: float
    reach: tuple[float, float] = (0.4, 0.4)
    room: float = 9.0
    soft: bool = False


@dataclass(frozen=True)
class Kind:
    """A category.

    Attributes:
        longest: metres (low, high) of the longest side, drawn log-uniformly.
        ratio: ranges of width, depth and height relative to each other.
        colours: names of its colours.
        materials: names of its materials.
        parts: its primitives in unit coordinates.
        place: against a wall, anywhere on the floor, hung on a wall, or on top of other things.
        round: whether depth always equals width (cylinders stay circular).
        hang: metres (low, high) of the lower edge of what hangs.
        supports: planes that carry things.
        soft: whether it lies on soft planes (cushions) instead of hard ones.
        crowd: whether a room may hold several.
        plural: its plural.
    """

    longest: tuple[float, float]
    ratio: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    colours: tuple[str, ...]
    materials: tuple[str, ...]
    parts: tuple[Part, ...]
    place: Place = "floor"
    round: bool = False
    hang: tuple[float, float] = (0.0, 0.0)
    supports: tuple[Support, ...] = ()
    soft: bool = False
    crowd: bool = True
    plural: str = ""


COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.95, 0.52, 0.08),
    "yellow": (0.95, 0.86, 0.15),
    "green": (0.15, 0.62, 0.22),
    "blue": (0.15, 0.30, 0.85),
    "purple": (0.52, 0.18, 0.72),
    "pink": (0.97, 0.52, 0.72),
    "brown": (0.45, 0.27, 0.13),
    "white": (0.96, 0.96, 0.96),
    "gray": (0.50, 0.51, 0.53),
    "black": (0.08, 0.08, 0.09),
}
"""Named colours as RGB in 0..1, far enough apart to stay tellable under shading."""

MATERIALS: dict[str, tuple[str, tuple[float, float], float]] = {
    "plastic": ("plain", (1.0, 1.0), 0.0),
    "metal": ("noise", (0.8, 1.4), 0.02),
    "leather": ("noise", (0.25, 0.5), 0.04),
    "wooden": ("wood", (0.10, 0.22), 0.22),
    "fabric": ("weave", (0.06, 0.12), 0.16),
    "marble": ("veins", (0.30, 0.60), 0.25),
    "striped": ("stripes", (0.12, 0.25), 0.40),
    "checkered": ("checker", (0.16, 0.32), 0.40),
    "dotted": ("dots", (0.12, 0.22), 0.45),
}
"""Adjective -> texture, metres (low, high) of its period, contrast; the first three hardly have one."""


def plural(category: str) -> str:
    """The plural of a category."""
    from vega3d.rooms.furniture import KINDS

    kind = KINDS.get(category)
    return kind.plural if kind is not None and kind.plural else f"{category}s"
