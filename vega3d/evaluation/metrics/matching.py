"""Boxes that were predicted against boxes that are there: matching one to one, and the F1 of it.

Two matchings are published and give different numbers: Hungarian (Multi3DRefer; the assignment with the
largest total IoU) and greedy in the order of the output (VG-LLM's detection). Input are IoU matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import DependencyError

Array = NDArray[np.floating]


def hungarian_f1(iou: Array, thresholds: Sequence[float]) -> list[float]:
    """F1 at each threshold for predictions (rows) and true boxes (columns).

    Args:
        iou: (p, g) overlaps in 0..1.
        thresholds: a matched pair counts when its IoU is at least this.

    Returns:
        One F1 in 0..1 a threshold: 1 when both sets are empty, 0 when only one is.

    Raises:
        DependencyError: scipy is not installed.
    """
    p, g = iou.shape
    if not p or not g:
        return [float(p == g)] * len(thresholds)
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    except ImportError as error:
        fix = 'pip install "vega3d[eval]"'
        raise DependencyError(
            "Missing package scipy for the matching.", got=str(error), expected="scipy >= 1.17", fix=fix
        ) from error
    matched = iou[linear_sum_assignment(iou, maximize=True)]  # (min(p, g),)
    return [2 * int((matched >= threshold).sum()) / (p + g) for threshold in thresholds]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and misses of one category."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def rates(self) -> dict[str, float]:
        """Precision, recall and their harmonic mean F1; all are 0 without a true positive."""
        if not self.tp:
            return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        precision, recall = self.tp / (self.tp + self.fp), self.tp / (self.tp + self.fn)
        return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def greedy_counts(iou: Array, threshold: float) -> Counts:
    """Counts when each prediction, in order, takes the free true box that it overlaps most.

    Args:
        iou: (p, g) overlaps, predictions in the order of the output.
        threshold: a hit overlaps by *more* than this.
    """
    p, g = iou.shape
    free = np.ones(g, dtype=bool)
    for row in iou:
        best = int(np.where(free, row, -1.0).argmax()) if free.any() else -1
        if best >= 0 and row[best] > threshold:
            free[best] = False
    hits = int((~free).sum())
    return Counts(tp=hits, fp=p - hits, fn=g - hits)
