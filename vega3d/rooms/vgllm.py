"""Records in VG-LLM's form: frames and their cameras, a ready-made prompt, answers in camera coordinates.

Decision: the tasks that a model answers by writing numbers (`scanrefer`, `scan2cap`, `threedod`) need to know
which frames were sent, so a record lists them. Frames are evenly spaced with both ends: VG-LLM's converters
draw them at random and cannot be repeated. This module knows scenes as `scene.json` holds them, no rooms.

Source: LaVi-Lab/VG-LLM (README: 24 frames for ScanRefer, 16 for Scan2Cap, 4 for detection; prompts).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry.iou import angles_zxy
from vega3d.rooms.proposals import best_proposal
from vega3d.rooms.records import unique_or_multiple

Row = dict[str, Any]
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
    return {
        f"evaluation/scanrefer/scannet_{split}.json": _numbered(scanrefer(s) for s in scenes),
        f"evaluation/scan2cap/scannet_{split}.json": _numbered(scan2cap(s) for s in scenes),
        f"evaluation/threedod/scannet_{FRAMES['threedod']}frames_{split}.json": _numbered(
            [threedod(s)] for s in scenes
        ),
    }


def scanrefer(scene: Row) -> list[Row]:
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


def scan2cap(scene: Row) -> list[Row]:
    """One record an object: the centre of its best proposal in the first camera, and that proposal's IoU."""
    rows = scene["scanrefer"]
    said: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for row, kind in zip(rows, unique_or_multiple(rows), strict=True):
        said.setdefault(row["object_id"], []).append(row["description"])
        kinds[row["object_id"]] = kind
    seen = _seen(scene, "scan2cap")
    records = []
    for thing, descriptions in said.items():
        best, iou = best_proposal(scene["boxes"][int(thing)], scene["proposals"])
        point = _into_camera(seen, np.array((best or scene["boxes"][int(thing)])[:3]))
        records.append(
            {
                **seen,
                "prompt": _DESCRIBE.format([round(float(v), 2) for v in point]),
                "iou": iou,
                "annotations": descriptions,
                "metadata": {"dataset": "scan2cap", "question_type": kinds[thing], "object_id": thing},
            }
        )
    return records


def threedod(scene: Row) -> Row:
    """All things that the frames show, as oriented boxes in the first frame's camera."""
    seen, places = _seen(scene, "threedod"), _places(scene, "threedod")
    to_camera = np.linalg.inv(_camera(seen))
    angles = [round(float(v), 4) for v in angles_zxy(to_camera[:3, :3])]
    shown = sorted({thing for place in places for thing in scene["visible"][place]})
    boxes = []
    for thing in shown:
        centre = _into_camera(seen, np.array(scene["boxes"][thing][:3]))
        numbers = [round(float(v), 4) for v in (*centre, *scene["boxes"][thing][3:])]
        boxes.append({"label": scene["categories"][thing], "bbox_3d": [*numbers, *angles]})
    return {**seen, "boxes": boxes, "metadata": {"dataset": "threedod"}}


def _numbered(groups: Any) -> list[Row]:
    return [{"id": number, **row} for number, row in enumerate(row for group in groups for row in group)]


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


def _into_camera(seen: Row, point: Matrix) -> Matrix:
    return np.asarray((np.linalg.inv(_camera(seen)) @ np.append(point, 1.0))[:3])
