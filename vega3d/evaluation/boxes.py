"""Boxes in records, and their overlaps: any JSON value in, an array or None out.

A box is a centre and sizes; an oriented one has three angles behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vega3d.evaluation.records import MAX_ENTRIES, Record, number
from vega3d.geometry.iou import aligned_iou, oriented_iou

Array = NDArray[np.float64]


def box(value: object, length: int = 6) -> Array | None:
    """A box as (length,) float64, or None: not a list, of another length, or not all finite numbers."""
    if not isinstance(value, list | tuple) or len(value) != length:
        return None
    if any(isinstance(entry, bool) or not isinstance(entry, int | float) for entry in value):
        return None
    try:
        row = np.array(value, dtype=np.float64)
    except OverflowError:
        return None
    return row if bool(np.isfinite(row).all()) else None


def box9(value: object) -> Array | None:
    """A box with its angles as (9,) float64, or None."""
    return box(value, 9)


def boxes(value: object, length: int = 6) -> Array | None:
    """Boxes as (n, length) float64, n may be 0; None when it is not a list or one of them is not a box."""
    if not isinstance(value, list | tuple) or len(value) > MAX_ENTRIES:
        return None
    rows = [box(entry, length) for entry in value]
    if any(row is None for row in rows):
        return None
    return np.array(rows, dtype=np.float64).reshape(-1, length)


def proposals(record: Record) -> tuple[Array, list[float | None]]:
    """Proposals (n, 6) and n + 1 scores, the last for "nothing"; both empty if they do not fit together."""
    objects, scores = boxes(record.get("objects")), record.get("scores")
    if objects is None or not isinstance(scores, list | tuple) or len(scores) != len(objects) + 1:
        return np.zeros((0, 6)), []
    return objects, [number(score) for score in scores]


def matrix(value: object) -> Array | None:
    """A (4, 4) float64 matrix, or None."""
    rows = boxes(value, 4)
    return rows if rows is not None and len(rows) == 4 else None


def aligned_overlap(first: Array | None, second: Array | None, epsilon: float = 0.0) -> float:
    """The IoU of two axis-aligned boxes (6,); 0 if one is missing. ``epsilon`` is added to the union."""
    return 0.0 if first is None or second is None else float(aligned_iou(first, second, epsilon=epsilon))


def oriented_ious(first: Sequence[Array | None], second: Sequence[Array | None]) -> list[float]:
    """The IoU of each pair of oriented boxes (9,), all pairs in one call; 0 if one of them is missing."""
    nothing = np.zeros(9)  # a box without volume overlaps nothing
    sides = [np.array([nothing if row is None else row for row in rows]) for rows in (first, second)]
    return [float(iou) for iou in oriented_iou(*sides)]
