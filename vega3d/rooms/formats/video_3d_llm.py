"""Records in Video-3D-LLM's form, made from raw annotations, as models of its line train on them.

Decision: prompts, keys and boxes as the public processed files have them; training rows get true boxes,
validation rows proposals where the protocol has them (`box_input` of Scan2Cap: the best proposal if its IoU
is at least 0.5, else null). `video` is `scannet/<scene>`. The input is rows and boxes, not rooms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vega3d.rooms.formats.writer import Row
from vega3d.rooms.proposals import Box, best_proposal

Boxes = dict[str, list[Box]]
"""Scene -> true boxes by object id."""

NYU40 = {
    "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8, "window": 9, "shelf": 10,
    "picture": 11, "desk": 14, "fridge": 24,
}  # fmt: skip
"""The categories that are among ScanNet's twenty classes; all others are 39, "other"."""

_FIND = "<image>Identify the object according to the following description.\n"
_FIND_MANY = "\nThere may be no corresponding object, or there may be one or more objects."
_SHORT = "Answer the question using a single word or phrase."
_CAPTION = "<image> Given an object located at <coord> , describe the object in detail."


def video_3d_llm_records(
    raw: Mapping[str, list[Any]], split: str, scenes: Sequence[Row]
) -> dict[str, list[Row]]:
    """File -> records of the five benchmarks; ``raw`` is their annotations in all scenes."""
    boxes, proposals = ({scene["scene"]: scene[key] for scene in scenes} for key in ("boxes", "proposals"))
    kinds = unique_or_multiple(raw["scanrefer"])
    eval_types = [row["eval_type"] for row in raw["multi3drefer"]]
    records = {
        "scanrefer_vg": _grounding("scanrefer", raw["scanrefer"], kinds, boxes),
        "multi3drefer": _grounding("multi3drefer", raw["multi3drefer"], eval_types, boxes, _FIND_MANY),
        "scanqa": _scanqa(raw["scanqa"], split),
        "sqa3d": _sqa3d(raw["sqa3d"], split),
        "scan2cap": _scan2cap(raw["scanrefer"], kinds, boxes, proposals, split),
    }
    return {f"processed/{name}_{split}_llava_style.json": rows for name, rows in records.items()}


def unique_or_multiple(rows: Sequence[Row]) -> list[str]:
    """ScanRefer's label of every row: "unique" if its class has one annotated object in its scene."""
    classes = [(row["scene_id"], NYU40.get(row["object_name"], 39)) for row in rows]
    objects = {(group, row["object_id"]) for group, row in zip(classes, rows, strict=True)}
    count = Counter(group for group, _ in objects)
    return ["unique" if count[group] == 1 else "multiple" for group in classes]


def by_object(rows: Sequence[Row], kinds: Sequence[str]) -> list[tuple[Row, str, list[str]]]:
    """First row, kind, and all descriptions of every object of ScanRefer's rows."""
    objects: dict[tuple[str, str], tuple[Row, str, list[str]]] = {}
    for row, kind in zip(rows, kinds, strict=True):
        key = (row["scene_id"], row["object_id"])
        objects.setdefault(key, (row, kind, []))[2].append(row["description"])
    return list(objects.values())


def _grounding(
    dataset: str, rows: Sequence[Row], kinds: Sequence[str], boxes: Boxes, tail: str = ""
) -> list[Row]:
    """One record a description; the answer is the token `<ground>`, the box the true one, or several."""
    records = []
    for number, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        objects = row["object_ids"] if "object_ids" in row else row["object_id"]
        scene_boxes = boxes[row["scene_id"]]
        several = isinstance(objects, list)
        box = [scene_boxes[i] for i in objects] if several else scene_boxes[int(objects)]
        text = _FIND + row["description"].capitalize() + tail
        metadata = _metadata(dataset, kind, row["ann_id"], object_id=objects)
        records.append(_record(number, row, text, "<ground>", metadata, box=box))
    return records


def _scanqa(rows: Sequence[Row], split: str) -> list[Row]:
    """One record an answer in training; else one a question, with all answers beside it."""
    records = []
    for row in rows:
        text = f"<image> {row['question']} Answer the question simply."
        for number, answer in enumerate(row["answers"] if split == "train" else row["answers"][:1]):
            metadata = _metadata("scanQA", "unknow", None, answers=row["answers"])
            records.append(_record(f"scanqa_{row['question_id']}_{number}", row, text, answer, metadata))
    return records


def _sqa3d(rows: Sequence[tuple[Row, Row]], split: str) -> list[Row]:
    """In training every wording of the situation is a record of its own."""
    records: list[Row] = []
    for question, annotation in rows:
        wordings = [*(question["alternative_situation"] if split == "train" else ()), question["situation"]]
        kind = question["question"].lstrip().split(" ")[0].lower()
        kind = kind if kind in ("what", "is", "how", "can", "which") else "others"
        for situation in wordings:
            text = f"<image> {situation} {question['question']} {_SHORT}"
            metadata = _metadata("sqa3d", kind, None, question_id=question["question_id"])
            answer = annotation["answers"][0]["answer"]
            records.append(_record(len(records), question, text, answer, metadata))
    return records


def _scan2cap(
    rows: Sequence[Row], kinds: Sequence[str], boxes: Boxes, proposals: Boxes, split: str
) -> list[Row]:
    """In training one record a description; else one an object, with all its descriptions."""
    if split == "train":
        return [
            _caption(number, row, "multiple", boxes, boxes[row["scene_id"]][int(row["object_id"])])
            for number, row in enumerate(rows)
        ]
    records = []
    for number, (row, kind, descriptions) in enumerate(by_object(rows, kinds)):
        scene = row["scene_id"]
        best, iou = best_proposal(boxes[scene][int(row["object_id"])], proposals[scene])
        record = _caption(number, row, kind, boxes, best if iou >= 0.5 else None)
        records.append({**record, "annotations": descriptions})
    return records


def _caption(number: int, row: Row, kind: str, boxes: Boxes, box_input: Box | None) -> Row:
    metadata = _metadata("scan2cap", kind, row["ann_id"], object_id=row["object_id"])
    gt_box = boxes[row["scene_id"]][int(row["object_id"])]
    text = row["description"].capitalize()
    return _record(number, row, _CAPTION, text, metadata, box_input=box_input, gt_box=gt_box)


def _record(number: int | str, row: Row, human: str, answer: str, metadata: Row, **fields: Any) -> Row:
    return {
        "id": number,
        "video": f"scannet/{row['scene_id']}",
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}],
        **fields,
        "metadata": metadata,
    }


def _metadata(dataset: str, kind: str, ann_id: Any, **fields: Any) -> Row:
    return {"dataset": dataset, "question_type": kind, "ann_id": ann_id, **fields}
