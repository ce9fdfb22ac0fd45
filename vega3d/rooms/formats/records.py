"""Records that models of 3-D scenes train on and are scored by, in the forms of Video-3D-LLM and VG-LLM.

Decision: prompts, keys and boxes as the public processed files have them. Video-3D-LLM's training rows get
true boxes, its validation rows proposals where the protocol has them (`box_input` of Scan2Cap: the best
proposal if its IoU is at least 0.5, else null); `video` is `scannet/<scene>`. VG-LLM's tasks, which a model
answers by writing numbers in camera coordinates, depend on which frames were sent, so a record lists them.
Frames are evenly spaced with both ends: VG-LLM's converters draw them at random and cannot be repeated. The
input is rows and scenes as `scene.json` holds them, not rooms.

Source: LaVi-Lab/VG-LLM (README: 24 frames for ScanRefer, 16 for Scan2Cap, 4 for detection; prompts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry.iou import angles_zxy
from vega3d.rooms.formats.writer import Row
from vega3d.rooms.proposals import Box, best_proposal
from vega3d.rooms.scene import grouped

NYU40 = {
    "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8, "window": 9, "shelf": 10,
    "picture": 11, "desk": 14, "fridge": 24,
}  # fmt: skip
"""The categories that are among ScanNet's twenty classes; all others are 39, "other"."""

_FIND = "<image>Identify the object according to the following description.\n"
_FIND_MANY = "\nThere may be no corresponding object, or there may be one or more objects."
_SHORT = "Answer the question using a single word or phrase."
_CAPTION = "<image> Given an object located at <coord> , describe the object in detail."
FRAMES = {"scanrefer": 24, "scan2cap": 16, "threedod": 4}
_LOCATE = (
    "Localize the first clear frame in the video showing the object described in the text.\nText: {}\n"
    'Output a JSON dictionary with the frame index in "frame" and its 3D bounding box in "bbox_3d" in the '
    "frame's coordinates.\n"
)
_DESCRIBE = "\nCarefully watch the video and describe the object located at {} in detail."


def make_records(scenes: Sequence[Row], split: str) -> dict[str, list[Row]]:
    """File -> records of all scenes, numbered from scene to scene unless they have an id."""
    files = {}
    for name, make in _MAKERS.items():
        rows = chain.from_iterable(make(scene, split) for scene in scenes)
        files[name.format(split)] = [{"id": number, **row} for number, row in enumerate(rows)]
    return files


def _scanrefer(scene: Row, split: str) -> list[Row]:
    """One record a description."""
    rows = [(row, kind, int(row["object_id"])) for row, kind in _kinds(scene)]
    return [_grounding(row, "scanrefer", kind, row["object_id"], scene["boxes"][i]) for row, kind, i in rows]


def _multi3drefer(scene: Row, split: str) -> list[Row]:
    """One record a description, with the boxes of all things that it means."""
    records = []
    for row in scene["multi3drefer"]:
        ids, boxes = row["object_ids"], [scene["boxes"][i] for i in row["object_ids"]]
        records.append(_grounding(row, "multi3drefer", row["eval_type"], ids, boxes, _FIND_MANY))
    return records


def _grounding(row: Row, dataset: str, kind: str, objects: Any, box: Any, tail: str = "") -> Row:
    """A record whose answer is the token `<ground>` and the true box, or several."""
    metadata = _metadata(dataset, kind, row["ann_id"], object_id=objects)
    return _record(row, _FIND + row["description"].capitalize() + tail, "<ground>", metadata, box=box)


def _scanqa(scene: Row, split: str) -> list[Row]:
    """One record an answer in training; else one a question, with all answers beside it."""
    records = []
    for row in scene["scanqa"]:
        text = f"<image> {row['question']} Answer the question simply."
        for number, answer in enumerate(row["answers"] if split == "train" else row["answers"][:1]):
            metadata = _metadata("scanQA", "unknow", None, answers=row["answers"])
            record = _record(row, text, answer, metadata)
            records.append({"id": f"scanqa_{row['question_id']}_{number}", **record})
    return records


def _sqa3d(scene: Row, split: str) -> list[Row]:
    """In training every wording of the situation is a record of its own."""
    records: list[Row] = []
    for question, annotation in scene["sqa3d"]:
        wordings = [*(question["alternative_situation"] if split == "train" else ()), question["situation"]]
        kind = question["question"].lstrip().split(" ")[0].lower()
        kind = kind if kind in ("what", "is", "how", "can", "which") else "others"
        metadata = _metadata("sqa3d", kind, None, question_id=question["question_id"])
        answer = annotation["answers"][0]["answer"]
        texts = [f"<image> {situation} {question['question']} {_SHORT}" for situation in wordings]
        records += [_record(question, text, answer, metadata) for text in texts]
    return records


def _scan2cap(scene: Row, split: str) -> list[Row]:
    """In training one record a description; else one an object, with all its descriptions."""
    boxes = scene["boxes"]
    if split == "train":
        return [_caption(scene, row, "multiple", boxes[int(row["object_id"])]) for row in scene["scanrefer"]]
    records = []
    for row, kind, descriptions in _by_object(scene):
        best, iou = best_proposal(boxes[int(row["object_id"])], scene["proposals"])
        record = _caption(scene, row, kind, best if iou >= 0.5 else None)
        records.append({**record, "annotations": descriptions})
    return records


def _caption(scene: Row, row: Row, kind: str, box_input: Box | None) -> Row:
    metadata = _metadata("scan2cap", kind, row["ann_id"], object_id=row["object_id"])
    text, gt_box = row["description"].capitalize(), scene["boxes"][int(row["object_id"])]
    return _record(row, _CAPTION, text, metadata, box_input=box_input, gt_box=gt_box)


def _record(row: Row, human: str, answer: str, metadata: Row, **fields: Any) -> Row:
    return {
        "video": f"scannet/{row['scene_id']}",
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}],
        **fields,
        "metadata": metadata,
    }


def _metadata(dataset: str, kind: str, ann_id: Any, **fields: Any) -> Row:
    return {"dataset": dataset, "question_type": kind, "ann_id": ann_id, **fields}


def _kinds(scene: Row) -> list[tuple[Row, str]]:
    """ScanRefer's rows, each "unique" if its class has one annotated object in the scene, or "multiple"."""
    objects = {row["object_id"]: NYU40.get(row["object_name"], 39) for row in scene["scanrefer"]}
    count = Counter(objects.values())
    names = [(row, count[objects[row["object_id"]]]) for row in scene["scanrefer"]]
    return [(row, "unique" if number == 1 else "multiple") for row, number in names]


def _by_object(scene: Row) -> list[tuple[Row, str, list[str]]]:
    """First row, kind, and all descriptions of every object of ScanRefer's rows."""
    objects = grouped((row["object_id"], (row, kind)) for row, kind in _kinds(scene))
    return [(*group[0], [row["description"] for row, _ in group]) for group in objects.values()]


def _located(scene: Row, split: str) -> list[Row]:
    """One record a description; the true box in the axis-aligned room, the proposals for refinement."""
    return [
        {
            **_seen(scene, "scanrefer"),
            "prompt": _LOCATE.format(row["description"].capitalize()),
            "description": row["description"],
            "gt_bbox": [*scene["boxes"][int(row["object_id"])], 0.0, 0.0, 0.0],
            "proposals": scene["proposals"],
            "metadata": {"dataset": "scanrefer", "question_type": kind, "object_id": row["object_id"]},
        }
        for row, kind in _kinds(scene)
    ]


def _described(scene: Row, split: str) -> list[Row]:
    """One record an object: the centre of its best proposal in the first camera, and that proposal's IoU."""
    seen, records = _seen(scene, "scan2cap"), []
    for row, kind, descriptions in _by_object(scene):
        true_box = scene["boxes"][int(row["object_id"])]
        best, iou = best_proposal(true_box, scene["proposals"])
        point = (_to_camera(seen) @ [*(best or true_box)[:3], 1.0])[:3]
        metadata = {"dataset": "scan2cap", "question_type": kind, "object_id": row["object_id"]}
        prompt = _DESCRIBE.format([round(float(value), 2) for value in point])
        answers = {"iou": iou, "annotations": descriptions, "metadata": metadata}
        records.append({**seen, "prompt": prompt, **answers})
    return records


def _detected(scene: Row, split: str) -> list[Row]:
    """All things that the frames show, as oriented boxes in the first frame's camera."""
    seen = _seen(scene, "threedod")
    to_camera = _to_camera(seen)
    angles = angles_zxy(to_camera[:3, :3])
    boxes = []
    for thing in sorted({thing for place in _places(scene, "threedod") for thing in scene["visible"][place]}):
        x, y, z, *size = scene["boxes"][thing]
        numbers = [round(float(value), 4) for value in (*(to_camera @ [x, y, z, 1.0])[:3], *size, *angles)]
        boxes.append({"label": scene["categories"][thing], "bbox_3d": numbers})
    return [{**seen, "boxes": boxes, "metadata": {"dataset": "threedod"}}]


def _places(scene: Row, task: str) -> list[int]:
    count = len(scene["images"])
    return [int(place) for place in np.linspace(0, count - 1, min(count, FRAMES[task]))]


def _seen(scene: Row, task: str) -> Row:
    places = _places(scene, task)
    return {
        "images": [scene["images"][place] for place in places],
        "cam2global": [scene["cam2global"][place] for place in places],
        "axis_align_matrix": scene["axis_align_matrix"],
        "cam2img": scene["depth_cam2img"],
    }


def _to_camera(seen: Row) -> NDArray[np.float64]:
    """(4, 4) from the axis-aligned room to the first frame's camera."""
    return np.linalg.inv(np.array(seen["axis_align_matrix"]) @ np.array(seen["cam2global"][0]))


_MAKERS = {
    "processed/scanrefer_vg_{}_llava_style.json": _scanrefer,
    "processed/multi3drefer_{}_llava_style.json": _multi3drefer,
    "processed/scanqa_{}_llava_style.json": _scanqa,
    "processed/sqa3d_{}_llava_style.json": _sqa3d,
    "processed/scan2cap_{}_llava_style.json": _scan2cap,
    "evaluation/scanrefer/scannet_{}.json": _located,
    "evaluation/scan2cap/scannet_{}.json": _described,
    f"evaluation/threedod/scannet_{FRAMES['threedod']}frames_{{}}.json": _detected,
}
"""File of a split -> maker of a scene's records; the first five are Video-3D-LLM's, the others VG-LLM's."""
