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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry.iou import angles_zxy
from vega3d.rooms.formats.writer import Row, numbered
from vega3d.rooms.proposals import Box, best_proposal
from vega3d.rooms.scene import grouped

Rows = Sequence[Row]
Records = dict[str, list[Row]]
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
FRAMES = {"scanrefer": 24, "scan2cap": 16, "threedod": 4}
_LOCATE = (
    "Localize the first clear frame in the video showing the object described in the text.\nText: {}\n"
    'Output a JSON dictionary with the frame index in "frame" and its 3D bounding box in "bbox_3d" in the '
    "frame's coordinates.\n"
)
_DESCRIBE = "\nCarefully watch the video and describe the object located at {} in detail."


def video_3d_llm_records(raw: Mapping[str, list[Any]], split: str, scenes: Rows) -> Records:
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


def unique_or_multiple(rows: Rows) -> list[str]:
    """ScanRefer's label of every row: "unique" if its class has one annotated object in its scene."""
    classes = [(row["scene_id"], NYU40.get(row["object_name"], 39)) for row in rows]
    objects = {(group, row["object_id"]) for group, row in zip(classes, rows, strict=True)}
    count = Counter(group for group, _ in objects)
    return ["unique" if count[group] == 1 else "multiple" for group in classes]


def by_object(rows: Rows, kinds: Sequence[str]) -> list[tuple[Row, str, list[str]]]:
    """First row, kind, and all descriptions of every object of ScanRefer's rows."""
    pairs = zip(rows, kinds, strict=True)
    objects = grouped(((row["scene_id"], row["object_id"]), (row, kind)) for row, kind in pairs)
    return [(*group[0], [row["description"] for row, _ in group]) for group in objects.values()]


def _grounding(dataset: str, rows: Rows, kinds: Sequence[str], boxes: Boxes, tail: str = "") -> list[Row]:
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


def _scanqa(rows: Rows, split: str) -> list[Row]:
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


def _scan2cap(rows: Rows, kinds: Sequence[str], boxes: Boxes, proposals: Boxes, split: str) -> list[Row]:
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


def vgllm_records(scenes: list[Row], split: str) -> Records:
    """File -> records of the three tasks."""
    frames = FRAMES["threedod"]
    return {
        f"evaluation/scanrefer/scannet_{split}.json": numbered(map(_vgllm_scanrefer, scenes)),
        f"evaluation/scan2cap/scannet_{split}.json": numbered(map(_vgllm_scan2cap, scenes)),
        f"evaluation/threedod/scannet_{frames}frames_{split}.json": numbered(map(_threedod, scenes)),
    }


def _vgllm_scanrefer(scene: Row) -> list[Row]:
    """One record a description; the true box in the axis-aligned room, the proposals for refinement."""
    rows = scene["scanrefer"]
    return [
        {
            **_seen(scene, "scanrefer"),
            "prompt": _LOCATE.format(row["description"].capitalize()),
            "description": row["description"],
            "gt_bbox": [*scene["boxes"][int(row["object_id"])], 0.0, 0.0, 0.0],
            "proposals": scene["proposals"],
            "metadata": {"dataset": "scanrefer", "question_type": kind, "object_id": row["object_id"]},
        }
        for row, kind in zip(rows, unique_or_multiple(rows), strict=True)
    ]


def _vgllm_scan2cap(scene: Row) -> list[Row]:
    """One record an object: the centre of its best proposal in the first camera, and that proposal's IoU."""
    rows, seen = scene["scanrefer"], _seen(scene, "scan2cap")
    records = []
    for row, kind, descriptions in by_object(rows, unique_or_multiple(rows)):
        true_box = scene["boxes"][int(row["object_id"])]
        best, iou = best_proposal(true_box, scene["proposals"])
        point = _into_camera(seen, (best or true_box)[:3])
        metadata = {"dataset": "scan2cap", "question_type": kind, "object_id": row["object_id"]}
        prompt = _DESCRIBE.format([round(value, 2) for value in point])
        answers = {"iou": iou, "annotations": descriptions, "metadata": metadata}
        records.append({**seen, "prompt": prompt, **answers})
    return records


def _threedod(scene: Row) -> list[Row]:
    """All things that the frames show, as oriented boxes in the first frame's camera."""
    seen = _seen(scene, "threedod")
    to_camera = np.linalg.inv(_camera(seen))
    angles = angles_zxy(to_camera[:3, :3])
    boxes = []
    for thing in sorted({thing for place in _places(scene, "threedod") for thing in scene["visible"][place]}):
        x, y, z, *size = scene["boxes"][thing]
        numbers = [round(float(value), 4) for value in (*_into_camera(seen, [x, y, z]), *size, *angles)]
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


def _camera(seen: Row) -> NDArray[np.float64]:
    """(4, 4) from the first frame's camera to the axis-aligned room."""
    return np.asarray(np.array(seen["axis_align_matrix"]) @ np.array(seen["cam2global"][0]))


def _into_camera(seen: Row, point: list[float]) -> list[float]:
    return [float(value) for value in (np.linalg.inv(_camera(seen)) @ [*point, 1.0])[:3]]
