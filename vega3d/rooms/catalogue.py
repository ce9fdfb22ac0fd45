"""The furniture of rooms, as data: what kinds there are, how big, in which colours, of which parts.

Decision: a kind is a table of parts in *unit* coordinates (x and y in -0.5..0.5, z in 0..1, front towards
-y), scaled by a size drawn from a range; so a new kind is a new row and no code. Ranges are wide on purpose:
the size of one chair must not be knowable without looking. Nothing here knows where a thing stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["box", "cylinder"]


@dataclass(frozen=True)
class Part:
    """One primitive: ``centre`` and ``size`` in unit coordinates; ``tint`` scales the thing's colour."""

    shape: Shape
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    tint: float = 1.0


@dataclass(frozen=True)
class Kind:
    """A category: metre ranges (low, high) of width, depth and height, its colours, its parts."""

    width: tuple[float, float]
    depth: tuple[float, float]
    height: tuple[float, float]
    colours: tuple[str, ...]
    parts: tuple[Part, ...]
    round: bool = False
    """Whether depth always equals width (cylinders stay circular)."""


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
    "black": (0.08, 0.08, 0.09),
}
"""Named colours as RGB in 0..1, far enough apart to stay tellable under shading."""


def _legs(thick: float, top: float, inset: float = 0.0, tint: float = 0.6) -> tuple[Part, ...]:
    edge = 0.5 - thick / 2 - inset
    size = (thick, thick, top)
    return tuple(Part("box", (x, y, top / 2), size, tint) for x in (-edge, edge) for y in (-edge, edge))


def _boards(count: int) -> tuple[Part, ...]:
    step = 0.96 / (count - 1)
    return tuple(Part("box", (0, -0.02, 0.02 + i * step), (0.92, 0.96, 0.04), 0.8) for i in range(count))


KINDS: dict[str, Kind] = {
    "bed": Kind((1.1, 1.9), (1.7, 2.3), (0.7, 1.1), ("pink", "white", "green", "blue"), (
        Part("box", (0, -0.02, 0.25), (1.0, 0.96, 0.5)),
        Part("box", (0, 0.48, 0.5), (1.0, 0.04, 1.0), 0.6),
        Part("box", (0, 0.33, 0.56), (0.8, 0.18, 0.12), 1.25),
    )),
    "cabinet": Kind((0.6, 1.2), (0.4, 0.7), (0.8, 1.5), ("white", "purple", "orange", "red"), (
        Part("box", (0, 0.02, 0.5), (1.0, 0.96, 1.0)),
        Part("box", (-0.25, -0.48, 0.5), (0.44, 0.04, 0.9), 0.75),
        Part("box", (0.25, -0.48, 0.5), (0.44, 0.04, 0.9), 0.75),
    )),
    "chair": Kind((0.4, 0.65), (0.4, 0.65), (0.8, 1.25), ("red", "yellow", "blue", "green"), (
        Part("box", (0, 0, 0.46), (1.0, 1.0, 0.08)),
        Part("box", (0, 0.45, 0.75), (1.0, 0.1, 0.5)),
        *_legs(0.12, 0.42),
    )),
    "lamp": Kind((0.35, 0.55), (0.35, 0.55), (1.2, 1.9), ("yellow", "white", "orange", "pink"), (
        Part("cylinder", (0, 0, 0.02), (0.8, 0.8, 0.04), 0.4),
        Part("cylinder", (0, 0, 0.4), (0.12, 0.12, 0.76), 0.4),
        Part("cylinder", (0, 0, 0.87), (1.0, 1.0, 0.26), 1.1),
    ), round=True),
    "plant": Kind((0.45, 0.8), (0.45, 0.8), (0.8, 1.5), ("green",), (
        Part("cylinder", (0, 0, 0.15), (0.5, 0.5, 0.3), 0.45),
        Part("cylinder", (0, 0, 0.45), (1.0, 1.0, 0.3)),
        Part("cylinder", (0, 0, 0.7), (0.75, 0.75, 0.2), 1.15),
        Part("cylinder", (0, 0, 0.9), (0.4, 0.4, 0.2), 1.3),
    ), round=True),
    "shelf": Kind((0.7, 1.4), (0.3, 0.45), (1.4, 2.0), ("brown", "white", "orange"), (
        Part("box", (-0.48, 0, 0.5), (0.04, 1.0, 1.0)),
        Part("box", (0.48, 0, 0.5), (0.04, 1.0, 1.0)),
        Part("box", (0, 0.48, 0.5), (0.92, 0.04, 1.0), 0.55),
        *_boards(5),
    )),
    "sofa": Kind((1.4, 2.4), (0.75, 1.0), (0.7, 1.0), ("blue", "purple", "red", "black"), (
        Part("box", (0, 0, 0.22), (1.0, 1.0, 0.44)),
        Part("box", (0, 0.4, 0.72), (1.0, 0.2, 0.56)),
        Part("box", (-0.45, -0.1, 0.55), (0.1, 0.8, 0.22), 0.8),
        Part("box", (0.45, -0.1, 0.55), (0.1, 0.8, 0.22), 0.8),
    )),
    "stool": Kind((0.3, 0.5), (0.3, 0.5), (0.4, 0.7), ("purple", "pink", "orange", "black"), (
        Part("cylinder", (0, 0, 0.9), (1.0, 1.0, 0.2)),
        Part("cylinder", (0, 0, 0.4), (0.6, 0.6, 0.8), 0.7),
    ), round=True),
    "table": Kind((0.9, 1.8), (0.7, 1.1), (0.6, 0.85), ("brown", "white", "yellow", "green"), (
        Part("box", (0, 0, 0.95), (1.0, 1.0, 0.1)),
        *_legs(0.08, 0.9, 0.04),
    )),
    "tv": Kind((0.8, 1.6), (0.25, 0.4), (0.8, 1.3), ("black",), (
        Part("box", (0, 0, 0.1), (0.7, 1.0, 0.2), 3.0),
        Part("box", (0, 0, 0.25), (0.12, 0.3, 0.1), 3.0),
        Part("box", (0, 0, 0.65), (1.0, 0.2, 0.7), 0.7),
    )),
}  # fmt: skip
"""The kinds by category name, in alphabetical order (seeds depend on the order: append a version)."""
