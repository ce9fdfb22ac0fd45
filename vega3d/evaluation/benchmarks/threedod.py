"""VG-LLM's 3-D detection in a few frames: labelled oriented boxes as JSON lines; precision, recall, F1 at
0.25.

Each line is read on its own as a literal, never run. Within a category the predictions take true boxes
greedily in the order of the output; a hit overlaps by *more* than 0.25. Counts are summed over samples, then
averaged over three lists of categories (the longest has "lamp" twice and "towl": as published).

Beyond the reference: overlaps are exact; a box that is not nine finite numbers counts as a false positive.
The mean over questions is a question's own F1, so that its error can be taken over scenes.
Source: LaVi-Lab/VG-LLM / H-EmbodVis/VEGA-3D (spatial-reasoning) ``src/lmms_eval/tasks/threedod``
(`scannet_4frames`, `scannet_6frames`, 2,000 new tokens).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Scores
from vega3d.evaluation.benchmarks._scannet import vgllm
from vega3d.evaluation.boxes import Array, box9
from vega3d.evaluation.files import sentence
from vega3d.evaluation.media import MediaFormat
from vega3d.evaluation.metrics.literals import dictionary, lines_within_fence
from vega3d.evaluation.metrics.matching import Counts, greedy_counts
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, Record, add_ids, is_list, is_text, mappings, text
from vega3d.geometry.iou import oriented_iou_matrices

THRESHOLD = 0.25
MAX_OBJECTS = 1_000  # in one answer; the published limit of 2,000 tokens allows about thirty
_COMMON = "chair cabinet table bin couch bed bathtub toilet"
_INDOOR = (
    "chair pillow cabinet table lamp couch desk stand bed backpack bathtub ottoman dresser bin toilet "
    "refrigerator stove microwave monitor computer"
)
_MORE = "window shelf curtain plant stairs picture book bottle lamp towl sink"
LISTS = {"cate8": _COMMON, "cate20": _INDOOR, "cate31": f"{_INDOOR} {_MORE}"}

Boxes = dict[str, list[Array]]
TEXT = (
    "Detect the 3D bounding boxes in the camera coordinate system of the first frame.\n"
    'Output a json list where each entry contains the object name in "label" and its 3D bounding box in '
    '"bbox_3d".\nThe 3D bounding box format should be [x_center, y_center, z_center, x_size, y_size, z_size, '
    "yaw, roll, pitch]."
)


def parse(answer: str) -> list[tuple[str, Array]]:
    """The (label, box (9,)) pairs of an answer; a box that cannot be one is all zeros."""
    pairs: list[tuple[str, Array]] = []
    for line in lines_within_fence(answer):
        line = line.strip().strip(",")
        if ("bbox_3d" in line or "label" in line) and len(pairs) < MAX_OBJECTS:
            entry = dictionary(line)
            label, numbers = entry.get("label", []), entry.get("bbox_3d", {})
            if not isinstance(label, list | dict | set) and _numeric(numbers):
                pairs.append((str(label)[:200], _box(numbers)))
    return pairs


def _box(value: object) -> Array:
    """A box (9,); all zeros, which overlap nothing, in the place of one that is not usable."""
    row = box9(value)
    return np.zeros(9) if row is None else row


def _numeric(value: object) -> bool:
    """A value that numpy takes for numbers counts as a prediction, if only a false one."""
    if isinstance(value, list | tuple):
        return all(_numeric(entry) for entry in value)
    if not isinstance(value, int | float | str):
        return value is None
    try:
        float(value)
    except (ValueError, OverflowError):
        return False
    return True


def true_boxes(record: Record) -> Boxes:
    """The true boxes by label; an entry that is none overlaps nothing and so counts as missed."""
    entries = record.get("boxes")
    return _by_label(
        (text(entry, "label"), _box(entry.get("bbox_3d")))
        for entry in (entries[:MAX_OBJECTS] if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and text(entry, "label")
    )


def _by_label(pairs: Iterable[tuple[str, Array]]) -> Boxes:
    """Boxes by label, each list in its order."""
    grouped: Boxes = {}
    for label, numbers in pairs:
        grouped.setdefault(label, []).append(numbers)
    return grouped


def counts(records: Sequence[Record]) -> list[dict[str, Counts]]:
    """Counts of each record by category, for every category that is there or was predicted."""
    sides = [(_by_label(parse(text(record, "prediction"))), true_boxes(record)) for record in records]
    tables = [
        {label: Counts(fp=len(p.get(label, ())), fn=len(t.get(label, ()))) for label in sorted({*p, *t})}
        for p, t in sides
    ]
    both = [(n, label) for n, (p, t) in enumerate(sides) for label in sorted(p.keys() & t.keys())]
    groups = [(np.stack(sides[n][0][label]), np.stack(sides[n][1][label])) for n, label in both]
    for (n, label), overlaps in zip(both, oriented_iou_matrices(groups), strict=True):
        tables[n][label] = greedy_counts(overlaps, THRESHOLD)
    return tables


def score(samples: Sequence[object]) -> Scores:
    """Counts of each sample; precision, recall and F1 by category and by list of categories."""
    records = mappings(samples)
    each = counts(records)
    total: dict[str, Counts] = {}
    for counted in each:
        for label, count in counted.items():
            total[label] = total.get(label, Counts()) + count
    rows = [{"counts": {label: asdict(count) for label, count in counted.items()}} for counted in each]
    splits = {name: _average(labels.split(), total) for name, labels in LISTS.items()}
    by_category = {label: count.rates() | asdict(count) for label, count in sorted(total.items())}
    tables = {"per_category": by_category, "splits": splits}
    printed = [Metric(f"splits {name} f1", split["f1"]) for name, split in splits.items()]
    return Scores(add_ids(records, rows), tables, metrics=printed)


def f1(scored: Record) -> float | None:
    """F1 of one answer over all categories; None if there was nothing and nothing was predicted."""
    counts = list(scored["counts"].values())
    tp, fp, fn = (sum(count[name] for count in counts) for name in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def _average(labels: Sequence[str], total: Mapping[str, Counts]) -> dict[str, Any]:
    """The unweighted mean over a list of categories; one that never occurs counts 0."""
    rates = [total.get(label, Counts()).rates() for label in labels]
    return {name: mean(rate[name] for rate in rates) if total else None for name in rates[0]}


PROTOCOL = Protocol(
    name="threedod",
    rules="greedy matching in output order within a category, exact oriented IoU > 0.25, micro precision, "
    "recall and F1 by category, unweighted means over 8, 20 and 31 categories",
    sources=("github.com/LaVi-Lab/VG-LLM src/lmms_eval/tasks/threedod",),
    fields=(
        Field("prediction", is_text, "the model's answer"),
        Field("boxes", is_list, "the true boxes: label and bbox_3d"),
    ),
    prompt=lambda record: text(record, "prompt") or TEXT,
    score=score,
    sample_score=f1,
)
BENCHMARK = Benchmark(
    name="threedod",
    title="VG-LLM 3-D detection",
    protocols=(PROTOCOL,),
    media=MediaFormat(all_frames=True, label="{image}\n"),
    max_new_tokens=2000,
    truth="boxes",
    **vgllm("threedod", optional=(sentence("prompt"),), kind=lambda row: f"{len(row['images'])} frames"),
)
