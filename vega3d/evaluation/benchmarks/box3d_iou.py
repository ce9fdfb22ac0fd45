"""Overlaps of pairs of oriented boxes: the primitive under the box protocols, scored like a benchmark.

It lets a file of pairs be checked against values from elsewhere, with the same command.
Source of the axis-aligned form: daveredrum/ScanRefer ``utils/box_util.py`` (1e-8 in the union).
"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Scores
from vega3d.evaluation.boxes import Array, aligned_overlap, box9, oriented_ious
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, add_ids, mappings


def score(samples: Sequence[object]) -> Scores:
    """The exact overlap of each pair, and the published axis-aligned one where neither box is turned."""
    records = mappings(samples)
    first, second = ([box9(record.get(name)) for record in records] for name in ("box_a", "box_b"))
    exact = oriented_ious(first, second)
    aligned = [_aligned(a, b) for a, b in zip(first, second, strict=True)]
    rows = [
        {"iou_exact": iou, "iou_axis_aligned_reference": reference}
        for iou, reference in zip(exact, aligned, strict=True)
    ]
    exact_mean = mean(exact)
    tables = {"mean_iou_exact": exact_mean}
    return Scores(add_ids(records, rows), tables, metrics=[Metric("mean_iou_exact", exact_mean)])


def _aligned(a: Array | None, b: Array | None) -> float | None:
    if a is None or b is None or a[6:].any() or b[6:].any():
        return None
    return aligned_overlap(a, b, epsilon=1e-8)


PROTOCOL = Protocol(
    name="box3d_iou",
    rules="exact IoU of 9-DoF boxes, intrinsic ZXY; sizes by absolute value, no volume means 0",
    sources=("vega3d.geometry.iou",),
    fields=(Field("box_a", box9, "nine numbers"), Field("box_b", box9, "nine numbers")),
    score=score,
)
BENCHMARK = Benchmark(name="box3d_iou", title="box pairs", protocols=(PROTOCOL,))
