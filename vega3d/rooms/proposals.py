"""Box proposals with the faults of a real detector, to stand in for Mask3D's.

Decision: faults are drawn, not learned: faces that are off, things missed (small ones more often), parts
taken for the whole, neighbours taken for one, doubles, boxes around nothing. The shares below are our choice,
so that some things are found at IoU 0.25 and not at 0.5; they are *not* fitted to Mask3D's output, which
may not be redistributed. Boxes are axis-aligned, at most 50 a scene, the surest first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry.iou import aligned_iou
from vega3d.rooms.rng import Rng

Box = list[float]
"""[cx, cy, cz, dx, dy, dz] in metres."""

MOST = 50
_OFF = 0.05  # spread of each face, as a share of the side
_PART, _MERGED, _DOUBLE = 0.06, 0.06, 0.25
_NOTHING = 4  # boxes around nothing, on average


def make_proposals(rng: Rng, boxes: list[Box], size: tuple[float, float, float]) -> list[Box]:
    """Noisy boxes of a scene whose true boxes these are, in a room of this size."""
    scored: list[tuple[float, Box]] = []
    for box in boxes:
        small = min(1.0, float(np.prod(box[3:])) / 0.02)
        if not rng.chance(0.7 + 0.27 * small):
            continue
        scored.append((rng.real(0.5, 1.0), _fault(rng, box, boxes)))
        if rng.chance(_DOUBLE):
            scored.append((rng.real(0.1, 0.6), _shaky(rng, box, 2 * _OFF)))
    scored += [(rng.real(0.0, 0.4), _nothing(rng, size)) for _ in range(rng.whole(0, 2 * _NOTHING + 1))]
    surest = sorted(range(len(scored)), key=lambda i: -scored[i][0])[:MOST]
    return [scored[i][1] for i in surest]


def best_proposal(box: Box, proposals: list[Box]) -> tuple[Box | None, float]:
    """The proposal with the highest IoU to a box, and that IoU."""
    if not proposals:
        return None, 0.0
    iou = aligned_iou(box, proposals, epsilon=1e-8)
    best = int(iou.argmax())
    return (proposals[best] if iou[best] > 0 else None), float(iou[best])


def box_between(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    """The box between its lowest and highest x, y, z (3,)."""
    return [float(value) for value in (*((low + high) / 2), *(high - low))]


def _fault(rng: Rng, box: Box, boxes: list[Box]) -> Box:
    draw = rng.real()
    if draw < _PART:
        box = _part(rng, box)
    elif draw < _PART + _MERGED:
        others = (other for other in boxes if other is not box)
        nearest = min(others, key=lambda other: np.linalg.norm(np.subtract(box, other)[:3]), default=box)
        lows, highs = zip(_faces(box), _faces(nearest), strict=True)
        box = box_between(np.minimum(*lows), np.maximum(*highs))
    return _shaky(rng, box, _OFF)


def _shaky(rng: Rng, box: Box, spread: float) -> Box:
    """Each face moved; never thinner than a centimetre."""
    (low, high), side = _faces(box), np.asarray(box[3:])
    low = low + np.array([rng.bell(spread) for _ in range(3)]) * side
    high = high + np.array([rng.bell(spread) for _ in range(3)]) * side
    return [round(value, 4) for value in box_between(low, np.maximum(high, low + 0.01))]


def _part(rng: Rng, box: Box) -> Box:
    axis, share, end = rng.whole(0, 3), rng.real(0.35, 0.65), rng.pick((-1, 1))
    part = list(box)
    part[axis] += end * (1 - share) / 2 * box[3 + axis]
    part[3 + axis] *= share
    return part


def _faces(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest x, y, z (3,)."""
    middle, half = np.asarray(box[:3]), np.asarray(box[3:]) / 2
    return middle - half, middle + half


def _nothing(rng: Rng, size: tuple[float, float, float]) -> Box:
    side = [rng.real(0.2, 1.2) for _ in range(3)]
    x, y = (rng.real(-0.5, 0.5) * (room - s) for room, s in zip(size[:2], side[:2], strict=True))
    return [round(v, 4) for v in (x, y, side[2] / 2 + rng.real(0.0, 0.6), *side)]
