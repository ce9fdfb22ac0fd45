"""Facts that questions ask about: exact relations between things, and which of them a clip shows.

Closest distances are between the *surfaces* of the primitives (a table's top and legs, not its box), in
closed form; directions and sizes use the boxes, as VSI-Bench does. A thing is *shown* when it covers a given
share of the picture in at least one frame; only such things may be asked about. It *appears* in the first
frame where it covers that much. No wording here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import corners, footprint, outline_distance, point_outline_distance
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Primitive, Room

SEEN = 0.003
"""Share of the picture that a thing must cover in some frame to count as seen."""


class Visibility:
    """The part of a room that frames show.

    Attributes:
        room: the room.
        coverage: (T, N + 1) share of the picture that each instance id covers in each frame.
        shown: the things that were seen by id, in order of id.
        categories: instances by category, only categories of which *every* instance was seen
            (otherwise the answer to "how many" would not be in the clip), by name.
        unique: the instance of each category that occurs exactly once, was seen, and stands still, by name.
    """

    def __init__(self, room: Room, ids: NDArray[np.int32], share: float = SEEN) -> None:
        pixels = np.stack([np.bincount(frame.ravel(), minlength=len(room.instances) + 1) for frame in ids])
        self.room, self.coverage = room, pixels / ids[0].size
        best = self.coverage.max(axis=0)
        self.shown = {thing.id: thing for thing in room.instances if best[thing.id] >= share}
        self.categories = {n: things for n, things in sorted(room.by_category.items()) if self.shows(things)}
        single = {name: things[0] for name, things in self.categories.items() if len(things) == 1}
        self.unique = {name: thing for name, thing in single.items() if thing.motion is None}
        self._metres: dict[tuple[int, int], float] = {}

    def shows(self, things: list[Instance]) -> bool:
        """True if all these things were seen."""
        return all(thing.id in self.shown for thing in things)

    def distance(self, a: Instance, b: Instance) -> float:
        """Closest distance in metres between two things; computed once."""
        key = (min(a.id, b.id), max(a.id, b.id))
        if key not in self._metres:
            self._metres[key] = distance(a, b)
        return self._metres[key]

    def first_frame(self, instances: list[Instance], share: float = SEEN) -> int | None:
        """First frame (index into the clip) in which one of the instances covers ``share``."""
        ids = [thing.id for thing in instances]
        frames = np.flatnonzero((self.coverage[:, ids] >= share).any(axis=1))
        return int(frames[0]) if len(frames) else None


QuestionDraft = tuple[str, str, str | tuple[str, ...]]
"""Type and text of a question, and a numeric answer, or options, the right one first."""
QuestionMaker = Callable[[Rng, Visibility, int], list[QuestionDraft]]
"""(rng, what a clip shows, most drafts) -> drafts."""


def distance(a: Instance, b: Instance) -> float:
    """Closest distance in metres between the surfaces of two things."""
    # Nearest first by their bounding balls: most pairs then need no closer look.
    pairs = [(_ball_gap(p, q), i, p, q) for i, (p, q) in enumerate(product(a.primitives, b.primitives))]
    best = math.inf
    for gap, _, p, q in sorted(pairs, key=lambda pair: pair[:2]):
        if gap >= best:
            break
        best = min(best, _primitive_distance(p, q))
    return best


def turn(before: np.ndarray, after: np.ndarray) -> float:
    """Angle in degrees, in (-180, 180], from one direction (2,) to the other, left is positive."""
    cross = before[0] * after[1] - before[1] * after[0]
    return math.degrees(math.atan2(cross, float(before @ after)))


def floor_distance(a: Instance, b: Instance) -> float:
    """Distance in metres between the centres of two boxes, seen from above."""
    return math.dist(a.box.centre[:2], b.box.centre[:2])


def axis_aligned(thing: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z (3,) of the thing's primitives: the box that ScanNet would give it."""
    # Turned corners of a round part reach beyond it.
    boxes = [p.box if p.shape == "box" else replace(p.box, yaw=0.0) for p in thing.primitives]
    points = np.concatenate([corners(box) for box in boxes])
    return points.min(axis=0), points.max(axis=0)


def _ball_gap(p: Primitive, q: Primitive) -> float:
    """At most the distance of two primitives: that of the balls around their boxes."""
    return math.dist(p.box.centre, q.box.centre) - math.hypot(*p.box.size) / 2 - math.hypot(*q.box.size) / 2


def _primitive_distance(p: Primitive, q: Primitive) -> float:
    """A sphere is its centre grown by its radius; the others are upright prisms."""
    grown = sum(part.box.size[0] / 2 for part in (p, q) if part.shape == "sphere")
    # In prisms, the plane distance and the vertical gap are independent.
    (p_low, p_high), (q_low, q_high) = _span(p), _span(q)
    gap = max(0.0, p_low - q_high, q_low - p_high)
    return max(0.0, math.hypot(_plane_distance(p, q), gap) - grown)


def _span(p: Primitive) -> tuple[float, float]:
    return (p.box.centre[2], p.box.centre[2]) if p.shape == "sphere" else p.box.z_range


def _plane_distance(p: Primitive, q: Primitive) -> float:
    if p.shape == "box" and q.shape == "box":
        return outline_distance(footprint(p.box), footprint(q.box))
    if p.shape == "box":
        p, q = q, p
    centre = np.asarray(p.box.centre[:2])
    if q.shape != "box":
        return max(0.0, math.dist(p.box.centre[:2], q.box.centre[:2]) - _radius(p) - _radius(q))
    return max(0.0, point_outline_distance(centre, footprint(q.box)) - _radius(p))


def _radius(p: Primitive) -> float:
    return 0.0 if p.shape == "sphere" else p.box.size[0] / 2
