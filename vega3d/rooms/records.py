"""Raw annotations turned into the processed records that models of the Video-3D-LLM line train on.

Decision: prompts, keys and boxes as the public processed files have them; training rows get true boxes,
validation rows proposals where the protocol says so (`box_input` of Scan2Cap: the best proposal if its IoU
is at least 0.5, else null). `video` is `scannet/<scene>`. This module knows no rooms, only rows and boxes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from vega3d.rooms.proposals import Box, best_proposal

Row = dict[str, Any]
Boxes = dict[str, list[Box]]
"""Scene -> true boxes by object id."""

NYU40 = {
    "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8, "window": 9, "shelf": 10,
    "picture": 11, "desk": 14, "fridge": 24,
}  # fmt: skip
"""The categories that are among ScanNet's twenty classes; all others are 39, "other"."""

_FIND = "<image>Identify the object according to the following description.\n"
_FIND_MANY = "\nThere may be no corresponding object, or there may be one or more objects."
_CAPTION = "<image> Given an object located at <coord> , describe the object in detail."


def unique_or_multiple(rows: list[Row]) -> list[str]:
    """ScanRefer's label of every row: whether its class has one annotated object in its scene."""
    objects = {(r["scene_id"], r["object_id"], NYU40.get(r["object_name"], 39)) for r in rows}
    count = Counter((scene, label) for scene, _, label in objects)
    return [
        "unique" if count[r["scene_id"], NYU40.get(r["object_name"], 39)] == 1 else "multiple" for r in rows
    ]


def scanrefer_records(rows: list[Row], boxes: Boxes) -> list[Row]:
    """One record a description; the answer is the token `<ground>`, the box the true one."""
    labels = unique_or_multiple(rows)
    return [
        {
            **_record(number, row, _FIND + row["description"].capitalize(), "<ground>"),
            "box": boxes[row["scene_id"]][int(row["object_id"])],
            "metadata": _metadata("scanrefer", label, row["ann_id"], object_id=row["object_id"]),
        }
        for number, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]


def multi3drefer_records(rows: list[Row], boxes: Boxes) -> list[Row]:
    """As ScanRefer's, with none, one or several boxes."""
    return [
        {
            **_record(number, row, _FIND + row["description"].capitalize() + _FIND_MANY, "<ground>"),
            "box": [boxes[row["scene_id"]][i] for i in row["object_ids"]],
            "metadata": _metadata(
                "multi3drefer", row["eval_type"], row["ann_id"], object_id=row["object_ids"]
            ),
        }
        for number, row in enumerate(rows)
    ]


def scanqa_records(rows: list[Row], split: str) -> list[Row]:
    """One record an answer in training; else one a question, with all answers beside it."""
    records: list[Row] = []
    for row in rows:
        text = f"<image> {row['question']} Answer the question simply."
        for number, answer in enumerate(row["answers"] if split == "train" else row["answers"][:1]):
            record = _record(f"scanqa_{row['question_id']}_{number}", row, text, answer)
            metadata = _metadata("scanQA", "unknow", None, answers=row["answers"])
            records.append({**record, "metadata": metadata})
    return records


def sqa3d_records(rows: list[tuple[Row, Row]], split: str) -> list[Row]:
    """In training every way of saying the situation is a record of its own."""
    records: list[Row] = []
    for question, annotation in rows:
        ways = [question["situation"]]
        if split == "train":
            ways = [*question["alternative_situation"], question["situation"]]
        kind = question["question"].lstrip().split(" ")[0].lower()
        kind = kind if kind in ("what", "is", "how", "can", "which") else "others"
        for way in ways:
            text = f"<image> {way} {question['question']} Answer the question using a single word or phrase."
            record = _record(len(records), question, text, annotation["answers"][0]["answer"])
            metadata = _metadata("sqa3d", kind, None, question_id=question["question_id"])
            records.append({**record, "metadata": metadata})
    return records


def scan2cap_records(rows: list[Row], boxes: Boxes, proposals: Boxes, split: str) -> list[Row]:
    """In training one record a description; else one an object, with all its descriptions."""
    if split == "train":
        return [
            _caption(n, row, boxes, boxes[row["scene_id"]][int(row["object_id"])])
            for n, row in enumerate(rows)
        ]
    labels = unique_or_multiple(rows)
    objects: dict[tuple[str, str], list[tuple[Row, str]]] = {}
    for row, label in zip(rows, labels, strict=True):
        objects.setdefault((row["scene_id"], row["object_id"]), []).append((row, label))
    records = []
    for number, ((scene, thing), said) in enumerate(objects.items()):
        row, label = said[0]
        best, iou = best_proposal(boxes[scene][int(thing)], proposals[scene])
        record = _caption(number, row, boxes, best if iou >= 0.5 else None)
        record["annotations"] = [r["description"] for r, _ in said]
        record["metadata"]["question_type"] = label
        records.append(record)
    return records


def _caption(number: int, row: Row, boxes: Boxes, box_input: Box | None) -> Row:
    return {
        **_record(number, row, _CAPTION, row["description"].capitalize()),
        "box_input": box_input,
        "gt_box": boxes[row["scene_id"]][int(row["object_id"])],
        "metadata": _metadata("scan2cap", "multiple", row["ann_id"], object_id=row["object_id"]),
    }


def _record(number: int | str, row: Row, human: str, answer: str) -> Row:
    return {
        "id": number,
        "video": f"scannet/{row['scene_id']}",
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}],
    }


def _metadata(dataset: str, kind: str, ann_id: Any, **more: Any) -> Row:
    return {"dataset": dataset, "question_type": kind, "ann_id": ann_id, **more}
