"""Overlaps of pairs of oriented boxes: the primitive under the box protocols, scored like a benchmark.

It lets a file of pairs be checked against values from elsewhere, with the same command.
Source of the axis-aligned form: daveredrum/ScanRefer ``utils/box_util.py`` (1e-8 in the union).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Scores
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, box, identity, is_box, mappings
from vega3d.geometry.iou import aligned_iou, oriented_iou


def score(samples: Sequence[object]) -> Scores:
    """The exact overlap of each pair, and the published axis-aligned one where neither box is turned."""
    records = mappings(samples)
    first, second = ([box(r.get(name), 9) for r in records] for name in ("box_a", "box_b"))
    usable = [a is not None and b is not None for a, b in zip(first, second, strict=True)]
    a, b = (np.array([np.zeros(9) if row is None else row for row in rows]) for rows in (first, second))
    exact, aligned = (oriented_iou(a, b), aligned_iou(a, b, epsilon=1e-8)) if records else ((), ())
    rows: list[dict[str, Any]] = [
        {
            "id": identity(record, "id"),
            "iou_exact": float(exact[n]) if usable[n] else 0.0,
            "iou_axis_aligned_reference": float(aligned[n]) if usable[n] and _straight(a[n], b[n]) else None,
        }
        for n, record in enumerate(records)
    ]
    exact_mean = mean(row["iou_exact"] for row in rows)
    return Scores(rows, {"mean_iou_exact": exact_mean}, metrics=[Metric("mean_iou_exact", exact_mean)])


def _straight(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return not (a[6:].any() or b[6:].any())


PROTOCOL = Protocol(
    name="box3d_iou",
    rules="exact IoU of 9-DoF boxes, intrinsic ZXY; sizes by absolute value, no volume means 0",
    sources=("vega3d.geometry.iou",),
    fields=(Field("box_a", is_box(9), "nine numbers"), Field("box_b", is_box(9), "nine numbers")),
    score=score,
)
BENCHMARK = Benchmark(name="box3d_iou", title="box pairs", protocols=(PROTOCOL,))
