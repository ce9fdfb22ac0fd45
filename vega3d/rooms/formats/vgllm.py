"""Records in VG-LLM's form: frames and their cameras, a ready-made prompt, answers in camera coordinates.

Decision: the tasks that a model answers by writing numbers (`scanrefer`, `scan2cap`, `threedod`) depend on
which frames were sent, so a record lists them. Frames are evenly spaced with both ends: VG-LLM's converters
draw them at random and cannot be repeated. Scenes are as `scene.json` holds them.

Source: LaVi-Lab/VG-LLM (README: 24 frames for ScanRefer, 16 for Scan2Cap, 4 for detection; prompts).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry.iou import angles_zxy
from vega3d.rooms.formats.video_3d_llm import by_object, unique_or_multiple
from vega3d.rooms.formats.writer import Row, numbered
from vega3d.rooms.proposals import best_proposal

Matrix = NDArray[np.float64]
FRAMES = {"scanrefer": 24, "scan2cap": 16, "threedod": 4}
_FIND = (
    "Localize the first clear frame in the video showing the object described in the text.\nText: {}\n"
    'Output a JSON dictionary with the frame index in "frame" and its 3D bounding box in "bbox_3d" in the '
    "frame's coordinates.\n"
)
_DESCRIBE = "\nCarefully watch the video and describe the object located at {} in detail."


def vgllm_records(scenes: list[Row], split: str) -> dict[str, list[Row]]:
    """File -> records of the three tasks."""
    frames = FRAMES["threedod"]
    return {
        f"evaluation/scanrefer/scannet_{split}.json": numbered(map(_scanrefer, scenes)),
        f"evaluation/scan2cap/scannet_{split}.json": numbered(map(_scan2cap, scenes)),
        f"evaluation/threedod/scannet_{frames}frames_{split}.json": numbered(map(_threedod, scenes)),
    }


def _scanrefer(scene: Row) -> list[Row]:
    """One record a description; the true box in the axis-aligned room, the proposals for refinement."""
    rows = scene["scanrefer"]
    return [
        {
            **_seen(scene, "scanrefer"),
            "prompt": _FIND.format(row["description"].capitalize()),
            "description": row["description"],
            "gt_bbox": [*scene["boxes"][int(row["object_id"])], 0.0, 0.0, 0.0],
            "proposals": scene["proposals"],
            "metadata": {"dataset": "scanrefer", "question_type": kind, "object_id": row["object_id"]},
        }
        for row, kind in zip(rows, unique_or_multiple(rows), strict=True)
    ]


def _scan2cap(scene: Row) -> list[Row]:
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


def _camera(seen: Row) -> Matrix:
    """(4, 4) from the first frame's camera to the axis-aligned room."""
    return np.asarray(np.array(seen["axis_align_matrix"]) @ np.array(seen["cam2global"][0]))


def _into_camera(seen: Row, point: list[float]) -> list[float]:
    return [float(value) for value in (np.linalg.inv(_camera(seen)) @ [*point, 1.0])[:3]]
