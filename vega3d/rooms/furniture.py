"""The words of the world: shapes, colours, materials, and every kind of thing.

Decision: a kind is a table of parts in *unit* coordinates (x and y in -0.5..0.5, z in 0..1, front towards
-y), scaled into a box; so a new kind is a new row of ``KINDS`` and no code. The longest side is drawn
log-uniformly from a wide range that many kinds share: neither the size of one chair nor the name of a kind
gives a size away (questions.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

Shape = Literal["box", "cylinder", "sphere"]
Place = Literal["wall", "floor", "hung", "top"]
Numbers = tuple[float, float, float]


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
        round: True if depth always equals width (cylinders stay circular).
        hang: metres (low, high) of the lower edge of what hangs.
        supports: planes that carry things.
        soft: True if it lies on soft planes (cushions) instead of hard ones.
        crowd: True if a room may hold several.
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

_BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
_WOODS = ("brown", "white", "black", "gray", "green", "blue", "red")
_CLOTH = ("fabric", "leather", "striped", "checkered", "dotted")
_BOARD = ("wooden", "plastic", "metal")
_CASE, _PAINTED = ("metal", "plastic"), ("wooden", "plastic")


_box = partial(Part, "box")


def _disc(z: float, width: float, height: float, tint: float = 1.0, **look: Any) -> Part:
    """An upright cylinder in the middle of a round thing."""
    return Part("cylinder", (0, 0, z), (width, width, height), tint, **look)


def _pair(centre: Numbers, size: Numbers, tint: float = 1.0, **look: Any) -> tuple[Part, Part]:
    """Two equal boxes, mirrored from left to right; ``centre`` is that of the right one."""
    x, y, z = centre
    return _box((-x, y, z), size, tint, **look), _box(centre, size, tint, **look)


def _legs(thick: float, top: float, inset: float = 0.0, tint: float = 0.6) -> tuple[Part, ...]:
    edge, size = 0.5 - thick / 2 - inset, (thick, thick, top)
    corners = product((-edge, edge), repeat=2)
    return tuple(_box((x, y, top / 2), size, tint, plain=True) for x, y in corners)


def _frame(width: float, tint: float = 0.7, plain: bool = False) -> tuple[Part, ...]:
    """A picture frame around the whole front, ``width`` in unit coordinates."""
    upright = _pair((0.5 - width / 2, 0, 0.5), (width, 1.0, 1.0), tint, plain=plain)
    size = (1 - 2 * width, 1.0, width)
    across = [_box((0, 0, z), size, tint, plain=plain) for z in (width / 2, 1 - width / 2)]
    return (*upright, *across)


KINDS: dict[str, Kind] = {
    "backpack": Kind((0.35, 0.6), ((0.6, 0.75), (0.4, 0.5), (1, 1)), _BRIGHT, _CLOTH, (
        _box((0, 0.1, 0.46), (1.0, 0.8, 0.92)), _box((0, -0.4, 0.3), (0.7, 0.2, 0.4), 0.75),
        _box((0, 0.1, 0.96), (0.3, 0.2, 0.08), 0.5),
    )),
    "ball": Kind((0.2, 0.6), ((1, 1), (1, 1), (1, 1)), _BRIGHT, ("plastic", "striped", "checkered", "dotted"),
        (Part("sphere", (0, 0, 0.5), (1.0, 1.0, 1.0)),), round=True),
    "basket": Kind((0.3, 0.7), ((0.8, 1), (0.8, 1), (0.6, 1)), ("brown", "white", "pink", "orange"),
        ("fabric", "striped"), (_disc(0.45, 0.92, 0.9), _disc(0.95, 1.0, 0.1, 0.7)), round=True),
    "bed": Kind((1.5, 2.3), ((0.55, 0.9), (1, 1), (0.35, 0.5)), ("pink", "white", "green", "blue", "gray"),
        _CLOTH, (
        _box((0, -0.02, 0.25), (1.0, 0.96, 0.5)), _box((0, 0.48, 0.5), (1.0, 0.04, 1.0), 0.6, plain=True),
        _box((0, 0.33, 0.56), (0.8, 0.18, 0.12), 1.2, colour="white"),
    ), "wall", supports=(Support(0.5, (0.4, 0.2), soft=True),), crowd=False),
    "bench": Kind((0.75, 1.8), ((1, 1), (0.28, 0.4), (0.28, 0.45)), _WOODS, _BOARD, (
        _box((0, 0, 0.92), (1.0, 1.0, 0.16)), *_pair((0.42, 0, 0.42), (0.08, 0.9, 0.84), 0.7),
    ), supports=(Support(1.0, soft=True),), plural="benches"),
    "bin": Kind((0.3, 0.75), ((0.6, 0.8), (0.6, 0.8), (1, 1)), ("gray", "black", "red", "blue", "white"),
        _CASE,
        (_disc(0.44, 0.9, 0.88), _disc(0.92, 1.0, 0.08, 0.5), _disc(0.98, 0.3, 0.04, 0.4)), round=True),
    "book": Kind((0.2, 0.4), ((1, 1), (0.65, 0.8), (0.12, 0.3)), _BRIGHT, ("plastic", "leather", "striped"), (
        _box((0, 0, 0.5), (0.96, 0.94, 0.84), colour="white", plain=True),
        _box((0, 0, 0.04), (1.0, 1.0, 0.08)), _box((0, 0, 0.96), (1.0, 1.0, 0.08)),
        _box((0, 0.48, 0.5), (1.0, 0.04, 0.84)),
    ), "top"),
    "bottle": Kind((0.2, 0.42), ((0.3, 0.4), (0.3, 0.4), (1, 1)),
        ("green", "blue", "brown", "purple", "white"), ("plastic", "metal"), (
        _disc(0.34, 1.0, 0.68), _disc(0.8, 0.42, 0.24, 0.8), _disc(0.96, 0.5, 0.08, 0.5),
    ), "top", round=True),
    "bowl": Kind((0.2, 0.42), ((1, 1), (1, 1), (0.4, 0.5)), _BRIGHT, ("plastic", "marble", "wooden"),
        (_disc(0.1, 0.5, 0.2, 0.7), _disc(0.4, 0.8, 0.4), _disc(0.8, 1.0, 0.4)), "top", round=True),
    "cabinet": Kind((0.7, 1.75), ((0.6, 1), (0.35, 0.5), (0.8, 1)), _WOODS, _BOARD, (
        _box((0, 0.02, 0.5), (1.0, 0.96, 1.0)), *_pair((0.25, -0.48, 0.5), (0.44, 0.04, 0.9), 0.75),
    ), "wall", supports=(Support(1.0),)),
    "chair": Kind((0.75, 1.65), ((0.45, 0.55), (0.45, 0.55), (1, 1)), _BRIGHT, (*_BOARD, *_CLOTH), (
        _box((0, 0, 0.46), (1.0, 1.0, 0.08)), _box((0, 0.45, 0.75), (1.0, 0.1, 0.5)), *_legs(0.12, 0.42),
    ), supports=(Support(0.5, (0.3, 0.25), 0.5, soft=True),)),
    "clock": Kind((0.25, 0.7), ((1, 1), (0.12, 0.2), (1, 1)), _BRIGHT, ("plastic", "wooden", "metal"), (
        *_frame(0.14, 1.0), _box((0, 0.1, 0.5), (0.72, 0.6, 0.72), colour="white", plain=True),
        _box((0, -0.3, 0.6), (0.05, 0.2, 0.34), colour="black", plain=True),
        _box((0.1, -0.3, 0.5), (0.24, 0.2, 0.05), colour="black", plain=True),
    ), "hung", hang=(1.3, 1.7)),
    "cup": Kind((0.1, 0.22), ((0.7, 1), (0.7, 1), (1, 1)), _BRIGHT, ("plastic", "metal", "striped", "dotted"),
        (_disc(0.5, 1.0, 1.0),), "top", round=True),
    "cushion": Kind((0.3, 0.6), ((1, 1), (0.6, 1), (0.25, 0.4)), _BRIGHT, _CLOTH, (
        _box((0, 0, 0.5), (1.0, 1.0, 0.6)), _box((0, 0, 0.5), (0.8, 0.8, 1.0), 1.1),
    ), "top", soft=True),
    "desk": Kind((0.75, 1.8), ((1, 1), (0.5, 0.6), (0.5, 0.65)), _WOODS, _BOARD, (
        _box((0, 0, 0.96), (1.0, 1.0, 0.08)), _box((0.36, 0, 0.46), (0.26, 0.94, 0.92), 0.8),
        _box((-0.47, 0, 0.46), (0.06, 0.94, 0.92), 0.7), _box((-0.11, 0.44, 0.66), (0.66, 0.06, 0.5), 0.7),
    ), "wall", supports=(Support(1.0),)),
    "door": Kind((1.9, 2.2), ((0.38, 0.5), (0.03, 0.04), (1, 1)), ("white", "brown", "gray", "green", "red"),
        _PAINTED, (
        *_frame(0.08, 0.8), _box((0, 0.1, 0.5), (0.84, 0.6, 0.84)),
        _box((0.32, -0.35, 0.48), (0.1, 0.3, 0.03), colour="gray", plain=True),
    ), "hung", crowd=False),
    "fridge": Kind((0.9, 2.0), ((0.4, 0.5), (0.4, 0.48), (1, 1)), ("white", "gray", "red", "black"), _CASE, (
        _box((0, 0.03, 0.5), (1.0, 0.94, 1.0)), _box((0, -0.47, 0.32), (0.96, 0.06, 0.58), 0.85),
        _box((0, -0.47, 0.81), (0.96, 0.06, 0.34), 0.85),
    ), "wall", crowd=False),
    "lamp": Kind((0.75, 1.9), ((0.25, 0.35), (0.25, 0.35), (1, 1)),
        ("yellow", "white", "orange", "pink", "green"), ("plastic", "metal", "fabric"), (
        _disc(0.02, 0.8, 0.04, 0.4, plain=True), _disc(0.4, 0.12, 0.76, 0.4, plain=True),
        _disc(0.87, 1.0, 0.26, 1.1, glow=0.35),
    ), round=True),
    "laptop": Kind((0.3, 0.48), ((1, 1), (0.65, 0.75), (0.6, 0.7)),
        ("gray", "black", "white", "red"), _CASE, (
        _box((0, -0.03, 0.04), (1.0, 0.94, 0.08)), _box((0, 0.47, 0.5), (1.0, 0.06, 1.0)),
        _box((0, 0.42, 0.54), (0.9, 0.04, 0.8), colour="blue", glow=0.5, plain=True),
    ), "top"),
    "mirror": Kind((0.6, 1.7), ((0.5, 1), (0.04, 0.06), (0.8, 1)), ("brown", "black", "white", "orange"),
        ("wooden", "metal"), (
        *_frame(0.08, 1.0), _box((0, 0.15, 0.5), (0.84, 0.5, 0.84), colour="gray", glow=0.25, plain=True),
    ), "hung", hang=(0.4, 0.9)),
    "monitor": Kind((0.4, 0.75), ((1, 1), (0.3, 0.4), (0.75, 0.85)),
        ("black", "white", "gray"), ("plastic",), (
        _box((0, 0, 0.03), (0.5, 1.0, 0.06)), _box((0, 0.1, 0.18), (0.1, 0.2, 0.24)),
        _box((0, 0, 0.65), (1.0, 0.3, 0.7)),
        _box((0, -0.18, 0.65), (0.92, 0.06, 0.6), colour="blue", glow=0.4, plain=True),
    ), "top"),
    "nightstand": Kind((0.4, 0.8), ((0.7, 1), (0.6, 0.9), (1, 1)), _WOODS, _BOARD, (
        _box((0, 0.03, 0.54), (1.0, 0.94, 0.92)), _box((0, -0.47, 0.76), (0.86, 0.06, 0.34), 0.7),
        _box((0, -0.47, 0.36), (0.86, 0.06, 0.34), 0.7), _box((0, 0.03, 0.04), (0.9, 0.84, 0.08), 0.5),
    ), "wall", supports=(Support(1.0),)),
    "picture": Kind((0.4, 1.7), ((0.7, 1), (0.03, 0.05), (0.7, 1)), _BRIGHT,
        ("striped", "checkered", "dotted", "marble"), (
        *_frame(0.07, 0.5, plain=True), _box((0, 0.1, 0.5), (0.86, 0.6, 0.86)),
    ), "hung", hang=(1.0, 1.5)),
    "plant": Kind((0.6, 1.8), ((0.4, 0.6), (0.4, 0.6), (1, 1)),
        ("green",), ("plastic", "striped", "dotted"), (
        _disc(0.14, 0.6, 0.28, colour="brown"), _disc(0.4, 0.12, 0.24, colour="brown", plain=True),
        _disc(0.55, 1.0, 0.2, 0.8), _disc(0.73, 0.75, 0.16), _disc(0.905, 0.45, 0.19, 1.2),
    ), round=True),
    "radiator": Kind((0.6, 1.7), ((1, 1), (0.1, 0.16), (0.45, 0.6)), ("white", "gray", "black"), ("metal",), (
        _box((0, 0.2, 0.5), (1.0, 0.6, 0.9)),
        *(_box((-0.45 + 0.15 * i, -0.3, 0.5), (0.08, 0.4, 1.0), 0.85) for i in range(7)),
    ), "hung", hang=(0.1, 0.2)),
    "robot": Kind((0.3, 0.5), ((1, 1), (1, 1), (0.25, 0.35)),
        ("white", "black", "red", "blue"), ("plastic",), (
        _disc(0.45, 1.0, 0.9), _disc(0.95, 0.4, 0.1, colour="green", glow=0.5, plain=True),
    ), round=True),
    "shelf": Kind((0.75, 2.1), ((0.55, 0.8), (0.22, 0.32), (1, 1)), _WOODS, _BOARD, (
        *_pair((0.48, 0, 0.5), (0.04, 1.0, 1.0)), _box((0, 0.48, 0.5), (0.92, 0.04, 1.0), 0.55),
        *(_box((0, -0.02, 0.02 + i * 0.24), (0.92, 0.96, 0.04), 0.8) for i in range(5)),
    ), "wall", plural="shelves",
        supports=tuple(Support(0.04 + 0.24 * i, (0.4, 0.3), 0.19) for i in range(4))),
    "sofa": Kind((0.8, 2.4), ((1, 1), (0.4, 0.6), (0.35, 0.5)),
        ("blue", "purple", "red", "black", "gray", "green"), _CLOTH, (
        _box((0, 0, 0.22), (1.0, 1.0, 0.44)), _box((0, 0.4, 0.72), (1.0, 0.2, 0.56)),
        *_pair((0.45, -0.1, 0.55), (0.1, 0.8, 0.22), 0.8),
    ), "wall", supports=(Support(0.44, (0.35, 0.2), soft=True),)),
    "stool": Kind((0.4, 0.8), ((0.55, 0.8), (0.55, 0.8), (1, 1)),
        ("purple", "pink", "orange", "black", "white"), (*_BOARD, "leather"), (
        _disc(0.93, 1.0, 0.14), _disc(0.46, 0.2, 0.8, 0.6, plain=True),
        _disc(0.03, 0.8, 0.06, 0.6, plain=True),
    ), round=True, supports=(Support(1.0, (0.2, 0.2)),)),
    "suitcase": Kind((0.45, 0.85), ((0.6, 0.75), (0.3, 0.4), (1, 1)), _BRIGHT,
        ("plastic", "metal", "leather"), (
        _box((0, 0, 0.44), (1.0, 1.0, 0.8)), *_pair((0.2, 0.3, 0.9), (0.05, 0.1, 0.12), 0.4),
        _box((0, 0.3, 0.98), (0.5, 0.12, 0.04), 0.4),
        *(Part("cylinder", (x, 0, 0.02), (0.1, 0.1, 0.04), 0.3, plain=True) for x in (-0.4, 0.4)),
    )),
    "table": Kind((0.8, 2.0), ((1, 1), (0.55, 0.9), (0.38, 0.55)), _WOODS, (*_BOARD, "marble"), (
        _box((0, 0, 0.95), (1.0, 1.0, 0.1)), *_legs(0.08, 0.9, 0.04),
    ), supports=(Support(1.0),)),
    "tv": Kind((0.7, 1.7), ((1, 1), (0.2, 0.28), (0.75, 0.9)), ("black", "gray", "white"), ("plastic",), (
        _box((0, 0, 0.1), (0.7, 1.0, 0.2), colour="brown"), _box((0, 0, 0.25), (0.12, 0.3, 0.1)),
        _box((0, 0.02, 0.65), (1.0, 0.16, 0.7)),
        _box((0, -0.08, 0.65), (0.94, 0.04, 0.62), colour="black", plain=True),
    ), "wall", crowd=False),
    "vase": Kind((0.2, 0.5), ((0.4, 0.6), (0.4, 0.6), (1, 1)), _BRIGHT,
        ("plastic", "marble", "striped", "dotted"),
        (_disc(0.3, 1.0, 0.6), _disc(0.75, 0.5, 0.3, 0.9), _disc(0.95, 0.7, 0.1)), "top", round=True),
    "wardrobe": Kind((1.2, 2.2), ((0.45, 0.7), (0.25, 0.35), (1, 1)), _WOODS, _PAINTED, (
        _box((0, 0.03, 0.5), (1.0, 0.94, 1.0)), *_pair((0.25, -0.47, 0.52), (0.47, 0.06, 0.92), 0.8),
    ), "wall", crowd=False),
    "window": Kind((0.75, 1.8), ((0.6, 1), (0.04, 0.05), (0.7, 1)), ("white", "brown", "gray"), _PAINTED, (
        *_frame(0.06, 1.0), _box((0, 0, 0.5), (0.05, 1.0, 0.88), 1.0, plain=True),
        *_pair((0.2325, 0.2, 0.5), (0.415, 0.3, 0.88), colour="blue", glow=0.9, plain=True),
    ), "hung", hang=(0.7, 1.1)),
}  # fmt: skip
"""The kinds by category name, in alphabetical order (seeds depend on the order: append a version)."""

CATEGORIES: tuple[str, ...] = tuple(KINDS)
"""All categories; a class id is 1 + the place in here (0 is the shell of a room)."""

COMMON = (0.8, 1.6)
"""Metres: the longest sides that many kinds share, and that questions of size keep to."""


def plural(category: str) -> str:
    """Plural of a category."""
    return KINDS[category].plural or f"{category}s"
