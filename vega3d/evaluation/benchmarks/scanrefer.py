"""ScanRefer: find the one object that a description means; Acc@0.25 and Acc@0.5.

``scanrefer/proposal`` picks one of the scene's proposed boxes. Boxes are axis-aligned; the union carries
1e-8, so an overlap of exactly 0.5 is a miss, as published. A record brings the picked box, or the proposals
(``objects``) and their ``scores`` with the last one for "nothing". It needs a head that scores proposals; a
model that writes text cannot be run on it. ``scanrefer/unique-multiple`` labels descriptions: *unique* is the
only annotated object of its class in the scene.

``scanrefer/textbox``: the model writes a frame and a box in that frame's camera; the box is moved to the
room. The answer is read as a literal, never run. The box goes through ``axis_align_matrix @
cam2global[frame]`` and is compared as an oriented box, exactly. The published scorer's kernel is wrong for
boxes that are nearly parallel, so a published number may differ by tenths. ``scanrefer/textbox-refined``
first replaces the box by the proposal that overlaps it most (it is kept when none does), which is another
protocol with numbers of its own. Beyond the reference: sums in the answer ("0.5 + 1") are refused, since
nothing is worked out.

Source: H-EmbodVis/VEGA-3D (main) ``llava/eval/eval_scanrefer.py``, ``llava/eval/box_utils.py`` and
``scripts/3d/preprocessing/process_scanrefer.py``; daveredrum/ScanRefer; VG-LLM / H-EmbodVis/VEGA-3D
(spatial-reasoning) ``src/lmms_eval/tasks/scanrefer`` (24 frames, `Frame-0: <image>`, 100 new tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Benchmark, Protocol, Scores, metrics
from vega3d.evaluation.benchmarks._scannet import vgllm
from vega3d.evaluation.boxes import Array, aligned_overlap, box, box9, boxes, matrix, oriented_ious, proposals
from vega3d.evaluation.files import sentence
from vega3d.evaluation.media import MediaFormat
from vega3d.evaluation.metrics.literals import dictionary, lines_within_fence
from vega3d.evaluation.metrics.means import by_type, mean, percents
from vega3d.evaluation.records import Field, Record, add_ids, is_list, is_text, mappings, text
from vega3d.geometry.iou import angles_zxy, oriented_iou_matrix, rotation_zxy

OTHER = 39  # the class of everything that has none
NYU40 = frozenset([*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39])


def prompt(record: Record) -> str:
    """The text that VEGA-3D and Video-3D-LLM send: all but the first letter in lower case."""
    description = text(record, "description").capitalize()
    return f"Identify the object according to the following description.\n{description}"


def picked_box(record: Record) -> Array | None:
    """The predicted box (6,): given, or the proposal with the best score; never the slot for "nothing"."""
    for name in ("pred_response", "prediction"):
        if (given := box(record.get(name))) is not None:
            return given
    objects, scores = proposals(record)
    values = [score for score in scores[: len(objects)] if score is not None]
    return np.asarray(objects[int(np.argmax(values))]) if values and len(values) == len(objects) else None


def score_proposal(samples: Sequence[object]) -> Scores:
    """IoU of each picked box, and the shares of hits by type."""
    records = mappings(samples)
    rows = [
        _hits(aligned_overlap(picked_box(record), box(record.get("gt_response")), epsilon=1e-8))
        for record in records
    ]
    types = [text(record, "question_type") for record in records]
    shares = percents(by_type(types, rows, {"iou25": "iou@0.25", "iou50": "iou@0.5"}))
    printed = metrics("aggregate_percent", shares, ("all iou@0.25", "all iou@0.5"), 100)
    return Scores(add_ids(records, rows), {"aggregate_percent": shares}, metrics=printed)


def _hits(iou: float) -> dict[str, Any]:
    return {"iou": iou, "iou25": iou >= 0.25, "iou50": iou >= 0.5}


def label(
    samples: Sequence[object], raw_name_to_nyu40: object = None, valid_nyu40_ids: object = None
) -> Scores:
    """``unique`` or ``multiple`` for each description of an annotation file.

    Args:
        samples: records with ``scene_id``, ``object_id`` and ``object_name`` (underscores are spaces).
        raw_name_to_nyu40: class number by raw name, from ``scannetv2-labels.combined.tsv`` (second column to
            fifth); without it every object has class 39.
        valid_nyu40_ids: the classes that count; others become 39.
    """
    names = raw_name_to_nyu40 if isinstance(raw_name_to_nyu40, Mapping) else {}
    valid = {*map(str, valid_nyu40_ids if isinstance(valid_nyu40_ids, list) else NYU40)}
    records = mappings(samples)
    keys = [(text(record, "scene_id"), _class(record, names, valid)) for record in records]
    members: dict[tuple[str, str], set[str]] = {}
    for record, key in zip(records, keys, strict=True):
        members.setdefault(key, set()).add(text(record, "object_id"))
    types = ["unique" if len(members[key]) == 1 else "multiple" for key in keys]
    rows = add_ids(records, [{"eval_type": kind} for kind in types])
    counts: dict[str, float | None] = {kind: types.count(kind) for kind in ("unique", "multiple")}
    return Scores(rows, {"counts": counts}, metrics=metrics("counts", counts, counts))


def _class(record: Record, names: Mapping[str, object], valid: set[str]) -> str:
    number_ = str(names.get(text(record, "object_name").replace("_", " "), OTHER))
    return number_ if number_ in valid else str(OTHER)


def textbox_prompt(record: Record) -> str:
    """VG-LLM's text, which asks for JSON; the record may bring it ready-made."""
    return text(record, "prompt") or (
        "Localize the first clear frame in the video showing the object described in the text.\n"
        f"Text: {text(record, 'description').capitalize()}\n"
        'Output a JSON dictionary with the frame index in "frame" and its 3D bounding box in "bbox_3d" in '
        "the frame's coordinates.\n"
    )


def parse(answer: str) -> tuple[int, Array] | None:
    """(frame, box (9,)) of an answer, or None.

    The first line with ``bbox_3d`` has to be one whole dictionary; the frame an integer (True is 1), the box
    nine numbers. Text on other lines and a comment at the end do no harm.
    """
    entry = dictionary(next((line for line in lines_within_fence(answer) if "bbox_3d" in line), ""))
    frame, numbers = entry.get("frame"), entry.get("bbox_3d")
    if not isinstance(frame, int) or not isinstance(numbers, list):
        return None
    camera_box = box9([float(n) if isinstance(n, bool) else n for n in numbers])
    return None if camera_box is None else (int(frame), camera_box)


def to_room(camera_box: Array, pose: Array) -> Array:
    """A box (9,) of camera coordinates in those of ``pose`` (4, 4); sizes stay.

    Poses are rounded in the files, so the turned axes are brought back to the nearest rotation.
    """
    centre = pose[:3, :3] @ camera_box[:3] + pose[:3, 3]
    left, _, right = np.linalg.svd(pose[:3, :3] @ rotation_zxy(camera_box[6:]))
    return np.concatenate([centre, camera_box[3:6], angles_zxy(left @ right)])


def predicted_box(record: Record) -> Array | None:
    """The predicted box (9,) in the axis-aligned room, or None where the answer cannot be used."""
    parsed = parse(text(record, "prediction"))
    poses, align = record.get("cam2global"), matrix(record.get("axis_align_matrix"))
    if parsed is None or align is None or not isinstance(poses, list):
        return None
    frame, camera_box = parsed
    images = record.get("images")
    count = min(len(poses), len(images)) if isinstance(images, list) else len(poses)
    pose = matrix(poses[frame]) if 0 <= frame < count else None
    if pose is None:
        return None
    with np.errstate(all="ignore"):
        placed = to_room(camera_box, align @ pose)
    return placed if bool(np.isfinite(placed).all()) else None


def refined_box(record: Record, predicted: Array | None) -> Array | None:
    """The proposal that overlaps the predicted box most, or the predicted box when none overlaps it."""
    proposed = boxes(record.get("proposals"))
    if predicted is None or proposed is None or not len(proposed):
        return predicted
    overlaps = oriented_iou_matrix(predicted[None], proposed)[0]
    best = int(overlaps.argmax())
    return np.pad(proposed[best], (0, 3)) if overlaps[best] > 0 else predicted


def score_textbox(samples: Sequence[object]) -> Scores:
    """IoU of the written boxes."""
    records = mappings(samples)
    return _scores(records, [{"pred_bbox": predicted_box(record)} for record in records])


def score_refined(samples: Sequence[object]) -> Scores:
    """IoU after each written box is replaced by the nearest proposal."""
    records = mappings(samples)
    steps = []
    for record in records:
        written = predicted_box(record)
        steps.append({"pred_bbox": written, "refined_bbox": refined_box(record, written)})
    return _scores(records, steps)


def _scores(records: Sequence[Record], steps: Sequence[Mapping[str, Array | None]]) -> Scores:
    """Hits of the last box of each sample; its row shows every step that led there."""
    rows: list[dict[str, Any]] = []
    truths = [box9(record.get("gt_bbox")) for record in records]
    ious = oriented_ious([[*step.values()][-1] for step in steps], truths)
    for step, iou in zip(steps, ious, strict=True):
        listed = {name: None if row is None else row.tolist() for name, row in step.items()}
        rows.append({"parsed": listed["pred_bbox"] is not None, **listed, **_hits(iou)})
    shares = percents({name: mean(float(row[name]) for row in rows) for name in ("iou25", "iou50")})
    printed = metrics("aggregate_percent", shares, shares, 100)
    return Scores(add_ids(records, rows), {"aggregate_percent": shares}, metrics=printed)


PROPOSAL = Protocol(
    name="scanrefer/proposal",
    rules="one proposed box, axis-aligned IoU with 1e-8 in the union, hits at >= 0.25 and >= 0.5, by "
    "unique/multiple",
    sources=(
        "github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_scanrefer.py",
        "github.com/daveredrum/ScanRefer",
    ),
    fields=(
        Field("pred_response", is_list, "the picked box, six numbers", ("prediction", "scores")),
        Field("gt_response", box, "the true box: centre and size"),
        Field("question_type", is_text, "unique or multiple"),
    ),
    prompt=prompt,
    score=score_proposal,
    score_only="it needs one score a proposal",
)
LABELS = Protocol(
    name="scanrefer/unique-multiple",
    rules="unique: the only annotated object of its nyu40 class in the scene, counted within the file",
    sources=("github.com/H-EmbodVis/VEGA-3D main, scripts/3d/preprocessing/process_scanrefer.py",),
    fields=(
        Field("scene_id", is_text, "the scene"),
        Field("object_id", is_text, "the object"),
        Field("object_name", is_text, "its raw name"),
    ),
    score=label,
    file_fields=("raw_name_to_nyu40", "valid_nyu40_ids"),
    score_only="it labels questions",
)
TEXTBOX = Protocol(
    name="scanrefer/textbox",
    rules="frame and 9-DoF camera box as JSON, moved to the room, exact oriented IoU, hits at >= 0.25 and "
    ">= 0.5",
    sources=(
        "github.com/LaVi-Lab/VG-LLM src/lmms_eval/tasks/scanrefer",
        "github.com/H-EmbodVis/VEGA-3D spatial-reasoning, src/lmms_eval/tasks/scanrefer",
    ),
    fields=(
        Field("prediction", is_text, "the model's answer"),
        Field("cam2global", is_list, "one 4x4 camera pose an image"),
        Field("axis_align_matrix", matrix, "4x4, room to axis-aligned room"),
        Field("gt_bbox", box9, "the true box in the axis-aligned room"),
    ),
    prompt=textbox_prompt,
    score=score_textbox,
    sample_score="iou25",
)
REFINED = replace(
    TEXTBOX,
    name="scanrefer/textbox-refined",
    rules=f"{TEXTBOX.rules}; the box is first replaced by the proposal that overlaps it most",
    fields=(*TEXTBOX.fields, Field("proposals", boxes, "the scene's proposed boxes: centre and size")),
    score=score_refined,
)
BENCHMARK = Benchmark(
    name="scanrefer",
    title="ScanRefer",
    protocols=(PROPOSAL, LABELS, TEXTBOX, REFINED),
    media=MediaFormat(all_frames=True, label="Frame-{n}: {image}"),
    official=9508,
    max_new_tokens=100,
    truth="gt_bbox",
    **vgllm("scanrefer", required=(sentence("prompt", "description"),)),
)
