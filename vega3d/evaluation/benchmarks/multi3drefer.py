"""Multi3DRefer: find none, one or several objects; F1 of the found boxes at IoU 0.25 and 0.5.

``vega`` chooses among proposals by a softmax of their cosine scores; ``official`` scores sets of boxes, in
single precision. Hence an overlap of exactly 0.25 is a miss in the one (the union carries 1e-8 in double
precision) and a hit in the other. Fractions, not percent, as published.

Nobody has published a way to ask this of a model that writes text: the question is Multi3DRefer's, the form
of the answer is VG-LLM's for detection (boxes in the first frame's camera). So a score under
`multi3drefer/official` is by its rules, and the prompt is ours: report both. A box is brought
into the room and widened to its axis-aligned box. An answer that is neither boxes nor `[]` is not a
prediction and scores 0; it is not taken for "nothing there".

Beyond the reference: a record whose scores and proposals do not fit together scores 0.
Source: H-EmbodVis/VEGA-3D (main) ``llava/eval/eval_multi3drefer.py``; 3dlg-hcvc/M3DRef-CLIP
``m3drefclip/evaluation/multi3drefer_evaluator.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores, metrics
from vega3d.evaluation.benchmarks._scannet import LAYOUT, TERMS, first_camera, samples_of_scenes
from vega3d.evaluation.benchmarks.scanrefer import to_room
from vega3d.evaluation.benchmarks.threedod import TEXT, parse
from vega3d.evaluation.files import Folder, read_json, rows_of, scene_name, sentence, unreadable
from vega3d.evaluation.metrics.literals import lines_within_fence
from vega3d.evaluation.metrics.matching import hungarian_f1
from vega3d.evaluation.metrics.means import by_group, mean
from vega3d.evaluation.records import (
    Array,
    Field,
    Record,
    boxes,
    identity,
    is_boxes,
    is_list,
    is_text,
    mappings,
    matrix,
    number,
    text,
)
from vega3d.geometry.iou import aligned_iou, rotation_zxy

FILES = ("multi3drefer_val.json", "benchmark/multi3drefer/multi3drefer_val.json")
BOXES = "metadata/scannet_val_gt_box.json"
REQUIRED = (
    scene_name("scene_id"),
    sentence("description"),
    Field("object_ids", is_list, "a list of numbers"),
)
CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)))
TEMPERATURE = 0.07
ENOUGH = 0.4  # probability of the chosen boxes together
THRESHOLDS = (0.25, 0.5)
_VEGA_EPSILON, _SINGLE_EPSILON = 1e-8, float(np.finfo(np.float32).eps)


def read(folder: Folder) -> list[Sample]:
    """Questions with the true boxes of `metadata/scannet_val_gt_box.json`."""
    rows = rows_of(folder.first(*FILES), REQUIRED)
    file = folder.first(BOXES)
    boxes_of_scenes = _true_boxes(file)
    cameras = {scene: first_camera(folder, str(scene)) for scene in {row["scene_id"] for row in rows}}
    records = [
        {
            **row,
            "id": number,
            "question_type": str(row.get("eval_type")),
            "gt_boxes": _wanted(row, boxes_of_scenes, file),
            "question": row["description"],
            "camera": cameras[row["scene_id"]],
        }
        for number, row in enumerate(rows)
    ]
    return samples_of_scenes(folder, records, "id", kind=lambda row: row["question_type"])


def published_prompt(record: Record) -> str:
    """The text that VEGA-3D and Video-3D-LLM send: all but the first letter in lower case."""
    return (
        "Identify the object according to the following description.\n"
        f"{text(record, 'description').capitalize()}\n"
        "There may be no corresponding object, or there may be one or more objects."
    )


def select(scores: Array) -> list[int]:
    """Indices of the chosen proposals, best first.

    Args:
        scores: (n + 1,) cosine similarities; the last is for "nothing". Equal scores keep their order.
    """
    if int(scores.argmax()) == len(scores) - 1:
        return []
    weights = np.exp((scores - scores.max()) / TEMPERATURE)
    shares = (weights / weights.sum())[:-1]
    order = np.argsort(-shares, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(shares[order])[:-1]])
    return [int(index) for index in order[before < ENOUGH]]


def score_vega(samples: Sequence[object]) -> Scores:
    """Choose by softmax, then F1."""
    records = mappings(samples)
    rows: list[dict[str, Any]] = []
    for record in records:
        proposals, truth, scores = _proposals(record)
        chosen, f1 = [], [0.0, 0.0]
        if proposals is not None and truth is not None and scores is not None:
            chosen = select(scores)
            f1 = hungarian_f1(_all_pairs(proposals[chosen], truth, _VEGA_EPSILON), THRESHOLDS)
        identified = {"id": identity(record, "id"), "selected": sorted(chosen)}
        rows.append({**identified, "f1_25": f1[0], "f1_50": f1[1]})
    types = [text(record, "question_type") for record in records]
    aggregate: dict[str, float | None] = {}
    for short, name in (("f1_25", "IoU25"), ("f1_50", "IoU50")):
        values = [row[short] for row in rows]
        aggregate |= {f"{kind} {name}": value for kind, value in by_group(types, values).items()}
        aggregate[f"all {name}"] = mean(values)
    printed = metrics("aggregate", aggregate, ("all IoU25", "all IoU50"))
    return Scores(rows, {"aggregate": aggregate}, metrics=printed)


def score_official(samples: Sequence[object]) -> Scores:
    """F1 of given sets of boxes, in single precision."""
    records = mappings(samples)
    rows: list[dict[str, Any]] = [
        {"id": identity(record, "id"), **_official_f1(record)} for record in records
    ]
    types = [text(record, "question_type") for record in records]
    double: dict[str, dict[str, float | None]] = {}
    single: dict[str, dict[str, float | None]] = {}
    for short, name in (("f1_25", "f1@0.25"), ("f1_50", "f1@0.5")):
        values = [row[short] for row in rows]
        means = by_group(types, values) | {"overall": mean(values)}
        for kind, value in means.items():
            double.setdefault(kind, {})[short] = value
        single[name] = {kind: _single(value) for kind, value in means.items()}
    tables = {"aggregate_float64": double, "aggregate_reference_float32": single}
    printed = metrics("aggregate_float64 overall", double["overall"], ("f1_25", "f1_50"))
    return Scores(rows, tables, metrics=printed)


def _official_f1(record: Record) -> dict[str, float]:
    """Without a true box: 1 for an empty prediction. F1 itself is 2 TP over the number of boxes."""
    predicted, truth = boxes(record.get("prediction"), 6), boxes(record.get("gt_boxes"), 6)
    f1 = [0.0, 0.0]
    if predicted is not None and truth is not None:
        with np.errstate(over="ignore"):
            pairs = _all_pairs(predicted.astype(np.float32), truth.astype(np.float32), _SINGLE_EPSILON)
        f1 = hungarian_f1(pairs, THRESHOLDS)
    return {"f1_25": f1[0], "f1_50": f1[1]}


def _proposals(record: Record) -> tuple[Array | None, Array | None, Array | None]:
    """Proposals (n, 6), true boxes (g, 6) and scores (n + 1,) of a record; None for what cannot be used."""
    proposals, given = boxes(record.get("objects"), 6), record.get("scores")
    truth = boxes(record.get("gt_response"), 6)
    values = [number(value) for value in given] if isinstance(given, list | tuple) else [None]
    if proposals is None or None in values or len(values) != len(proposals) + 1:
        return proposals, truth, None
    return proposals, truth, np.array(values, dtype=np.float64)


def _all_pairs(predicted: Array, truth: Array, epsilon: float) -> Array:
    """(p, g) overlaps of axis-aligned boxes."""
    return aligned_iou(predicted[:, None], truth[None], epsilon=epsilon)


def _single(value: float | None) -> float | None:
    return None if value is None else float(np.float32(value))


def prompt(record: Record) -> str:
    """Multi3DRefer's question, then how to answer."""
    return f"{published_prompt(record)}\n{TEXT} Output [] if there is none.\n"


def clean_answer(record: Record, output: str) -> list[list[float]] | None:
    """Axis-aligned boxes in the room, or None for an answer without boxes and without `[]`."""
    camera = matrix(record.get("camera"))
    parsed = parse(output)
    if camera is None or not (parsed or _is_empty_list(output)):
        return None
    return [_widened(to_room(numbers, camera)) for _, numbers in parsed]


def _widened(box: Array) -> list[float]:
    """The axis-aligned box (6,) around an oriented one (9,)."""
    corners = CORNERS * box[3:6] @ rotation_zxy(box[6:]).T + box[:3]  # (8, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [float(value) for value in (*((low + high) / 2), *(high - low))]


def _is_empty_list(output: str) -> bool:
    return [line.strip() for line in lines_within_fence(output.strip())] == ["[]"]


def _true_boxes(file: Path) -> dict[str, list[Any]]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(row, list) for row in content.values()):
        raise unreadable(file, "something else than a list of boxes for each scene")
    return content


def _wanted(row: Record, by_scene: Mapping[str, list[Any]], file: Path) -> list[Any]:
    """The true boxes of a question: its objects' places in the list of their scene."""
    scene = f"scannet/{row['scene_id']}"
    known, places = by_scene.get(scene, []), row["object_ids"]
    for index in places:
        if type(index) is not int or not 0 <= index < len(known):
            raise unreadable(file, f"no box of object {index!r} of {scene}")
    return [known[index] for index in places]


TYPE = Field("question_type", is_text, "zt_w_d, zt_wo_d, st_w_d, st_wo_d or mt")
VEGA = Protocol(
    name="multi3drefer/vega",
    rules=(
        "softmax(scores / 0.07) over proposals and 'nothing', boxes in order until 0.4; Hungarian F1, "
        "axis-aligned IoU with 1e-8 in the union"
    ),
    sources=("github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_multi3drefer.py",),
    fields=(
        Field("objects", is_boxes(6), "the proposed boxes"),
        Field("scores", is_list, "one a box, and one for 'nothing'"),
        Field("gt_response", is_boxes(6), "the true boxes"),
        TYPE,
    ),
    prompt=published_prompt,
    score=score_vega,
    score_only="it needs one score a proposal",
)
OFFICIAL = Protocol(
    name="multi3drefer/official",
    rules="Hungarian F1 of sets of boxes, single precision; without a true box 1 for an empty prediction",
    sources=("github.com/3dlg-hcvc/M3DRef-CLIP m3drefclip/evaluation/multi3drefer_evaluator.py",),
    fields=(
        Field("prediction", is_boxes(6), "the predicted boxes"),
        Field("gt_boxes", is_boxes(6), "the true boxes"),
        TYPE,
    ),
    prompt=prompt,
    clean_answer=clean_answer,
    score=score_official,
    sample_score="f1_25",
)
BENCHMARK = Benchmark(
    name="multi3drefer",
    title="Multi3DRefer",
    protocols=(VEGA, OFFICIAL),
    read=read,
    official=11120,
    max_new_tokens=512,
    layout=f"{FILES[0]}, {BOXES}, scannet/scans/<scene>/<scene>.txt, posed frames: {LAYOUT}",
    source="3dlg-hcvc.github.io/multi3drefer; huggingface.co/datasets/zd11024/Video-3D-LLM_data (boxes); "
    "www.scan-net.org for the scenes; or `vega3d rooms export`",
    license=f"questions for research, see their page; {TERMS}",
    truth="gt_boxes",
)
