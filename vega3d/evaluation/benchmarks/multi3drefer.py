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
from vega3d.evaluation.benchmarks import scanrefer
from vega3d.evaluation.benchmarks._scannet import LAYOUT, TERMS, first_camera, samples_of_scenes
from vega3d.evaluation.benchmarks.threedod import TEXT, parse
from vega3d.evaluation.boxes import Array, boxes, matrix, proposals
from vega3d.evaluation.files import Folder, read_json, rows_of, scene_name, sentence, unreadable
from vega3d.evaluation.metrics.literals import lines_within_fence
from vega3d.evaluation.metrics.matching import hungarian_f1
from vega3d.evaluation.metrics.means import by_group, by_type, mean
from vega3d.evaluation.records import Field, Record, add_ids, is_list, is_text, mappings, text
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


def read(folder: Folder) -> list[Sample]:
    """Questions with the true boxes of `metadata/scannet_val_gt_box.json`."""
    rows = rows_of(folder.first(*FILES), REQUIRED)
    file = folder.first(BOXES)
    boxes_of_scenes = read_json(file)
    if not isinstance(boxes_of_scenes, dict) or not all(map(is_list, boxes_of_scenes.values())):
        raise unreadable(file, "something else than a list of boxes for each scene")
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
    more = "There may be no corresponding object, or there may be one or more objects."
    return f"{scanrefer.prompt(record)}\n{more}"


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
    rows = [_vega_f1(record) for record in records]
    types = [text(record, "question_type") for record in records]
    aggregate = by_type(types, rows, {"f1_25": "IoU25", "f1_50": "IoU50"})
    printed = metrics("aggregate", aggregate, ("all IoU25", "all IoU50"))
    return Scores(add_ids(records, rows), {"aggregate": aggregate}, metrics=printed)


def _vega_f1(record: Record) -> dict[str, Any]:
    """The chosen proposals and their F1; nothing is chosen from what cannot be used."""
    (proposed, scores), truth = proposals(record), boxes(record.get("gt_response"))
    if truth is None or not scores or None in scores:
        return {"selected": [], "f1_25": 0.0, "f1_50": 0.0}
    chosen = select(np.array(scores, dtype=np.float64))
    return {"selected": sorted(chosen), **_f1(proposed[chosen], truth, 1e-8)}


def _f1(predicted: np.ndarray[Any, Any], truth: np.ndarray[Any, Any], epsilon: float) -> dict[str, float]:
    """F1 at both thresholds, of all pairs of axis-aligned boxes; ``epsilon`` is added to each union."""
    overlaps = aligned_iou(predicted[:, None], truth[None], epsilon=epsilon)  # (p, g)
    return dict(zip(("f1_25", "f1_50"), hungarian_f1(overlaps, (0.25, 0.5)), strict=True))


def score_official(samples: Sequence[object]) -> Scores:
    """F1 of given sets of boxes, in single precision."""
    records = mappings(samples)
    rows = [_official_f1(record) for record in records]
    types = [text(record, "question_type") for record in records]
    values = {short: [row[short] for row in rows] for short in ("f1_25", "f1_50")}
    means = {short: by_group(types, f1) | {"overall": mean(f1)} for short, f1 in values.items()}
    double = {kind: {short: means[short][kind] for short in means} for kind in means["f1_25"]}
    single = {
        name: {kind: None if value is None else float(np.float32(value)) for kind, value in table.items()}
        for name, table in zip(("f1@0.25", "f1@0.5"), means.values(), strict=True)
    }
    tables = {"aggregate_float64": double, "aggregate_reference_float32": single}
    printed = metrics("aggregate_float64 overall", double["overall"], ("f1_25", "f1_50"))
    return Scores(add_ids(records, rows), tables, metrics=printed)


def _official_f1(record: Record) -> dict[str, float]:
    """Without a true box: 1 for an empty prediction. F1 itself is 2 TP over the number of boxes."""
    predicted, truth = boxes(record.get("prediction")), boxes(record.get("gt_boxes"))
    if predicted is None or truth is None:
        return {"f1_25": 0.0, "f1_50": 0.0}
    with np.errstate(over="ignore"):
        singles = predicted.astype(np.float32), truth.astype(np.float32)
    return _f1(*singles, float(np.finfo(np.float32).eps))


def prompt(record: Record) -> str:
    """Multi3DRefer's question, then how to answer."""
    return f"{published_prompt(record)}\n{TEXT} Output [] if there is none.\n"


def clean_answer(record: Record, output: str) -> list[list[float]] | None:
    """Axis-aligned boxes in the room, or None for an answer without boxes and without `[]`."""
    camera = matrix(record.get("camera"))
    parsed = parse(output)
    is_empty_list = [line.strip() for line in lines_within_fence(output.strip())] == ["[]"]
    if camera is None or not (parsed or is_empty_list):
        return None
    return [_widened(scanrefer.to_room(numbers, camera)) for _, numbers in parsed]


def _widened(box: Array) -> list[float]:
    """The axis-aligned box (6,) around an oriented one (9,)."""
    corners = CORNERS * box[3:6] @ rotation_zxy(box[6:]).T + box[:3]  # (8, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [float(value) for value in (*((low + high) / 2), *(high - low))]


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
    rules="softmax(scores / 0.07) over proposals and 'nothing', boxes in order until 0.4; Hungarian F1, "
    "axis-aligned IoU with 1e-8 in the union",
    sources=("github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_multi3drefer.py",),
    fields=(
        Field("objects", boxes, "the proposed boxes"),
        Field("scores", is_list, "one a box, and one for 'nothing'"),
        Field("gt_response", boxes, "the true boxes"),
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
        Field("prediction", boxes, "the predicted boxes"),
        Field("gt_boxes", boxes, "the true boxes"),
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
