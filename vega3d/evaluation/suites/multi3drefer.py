"""Multi3DRefer on disk, asked by text: none, one or several boxes as JSON lines.

Nobody has published a way to ask this of a model that writes text: the question is Multi3DRefer's, the form
of the answer is VG-LLM's for detection (boxes in the first frame's camera). So a score under
`multi3drefer/official` is by its rules, and the prompt is ours: say so beside the number. A box is brought
into the room and widened to its axis-aligned box. An answer that is neither boxes nor `[]` is no prediction
and scores 0; it is not taken for "nothing there". `multi3drefer/vega` needs scores of proposals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vega3d.evaluation.literals import lines_within_fence
from vega3d.evaluation.records import Array, matrix
from vega3d.evaluation.suites.scannet import LAYOUT, TERMS, first_camera, scene_media
from vega3d.evaluation.suites.suite import Question, Suite, first_of, rows_of
from vega3d.evaluation.suites.threedod import TEXT
from vega3d.evaluation.tasks import multi3drefer
from vega3d.evaluation.tasks.scanrefer_textbox import to_room
from vega3d.evaluation.tasks.threedod import parse
from vega3d.geometry.iou import rotation_zxy

FILES = ("multi3drefer_val.json", "benchmark/multi3drefer/multi3drefer_val.json")
BOXES = "metadata/scannet_val_gt_box.json"
CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)))


def read(root: Path) -> list[Question]:
    """Questions with the true boxes of `metadata/scannet_val_gt_box.json`."""
    rows = rows_of(first_of(root, FILES, "multi3drefer"))
    boxes = _boxes(root)
    cameras = {scene: first_camera(root, scene) for scene in {row.get("scene_id") for row in rows}}
    return [_question(root, number, row, boxes, cameras) for number, row in enumerate(rows)]


def prompt(record: Mapping[str, Any]) -> str:
    """Multi3DRefer's question, then how to answer."""
    return f"{multi3drefer.prompt(record)}\n{TEXT} Output [] if there is none.\n"


def fields(record: Mapping[str, Any], output: str) -> dict[str, Any]:
    """``prediction``: axis-aligned boxes in the room, or None for an answer that says nothing."""
    camera = matrix(record.get("camera"))
    found = parse(output)
    if camera is None or not (found or _is_empty_list(output)):
        return {"prediction": None}
    return {"prediction": [_widened(to_room(numbers, camera)) for _, numbers in found]}


def _widened(box: Array) -> list[float]:
    """The axis-aligned box (6,) around an oriented one (9,)."""
    corners = CORNERS * box[3:6] @ rotation_zxy(box[6:]).T + box[:3]  # (8, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [float(value) for value in (*((low + high) / 2), *(high - low))]


def _is_empty_list(output: str) -> bool:
    return [line.strip() for line in lines_within_fence(output.strip())] == ["[]"]


def _boxes(root: Path) -> dict[str, Any]:
    content = json.loads(first_of(root, (BOXES,), "multi3drefer").read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _question(
    root: Path, number: int, row: dict[str, Any], boxes: dict[str, Any], cameras: dict[Any, Any]
) -> Question:
    scene, kind = row.get("scene_id"), str(row.get("eval_type"))
    known, camera = boxes.get(f"scannet/{scene}", []), cameras[scene]
    wanted = [known[i] for i in row.get("object_ids", ()) if isinstance(i, int) and i < len(known)]
    more = {"id": number, "question_type": kind, "gt_boxes": wanted, "question": row.get("description")}
    record = {**row, **more, "camera": None if camera is None else camera.tolist()}
    return Question(str(number), record, scene_media(root, scene), str(scene), kind)


SUITE = Suite(
    name="multi3drefer",
    read=read,
    official=11120,
    value="f1_25",
    frames=32,
    prompt=prompt,
    fields=fields,
    max_new_tokens=512,
    layout=f"{FILES[0]}, {BOXES}, scannet/scans/<scene>/<scene>.txt, posed frames: {LAYOUT}",
    where="3dlg-hcvc.github.io/multi3drefer; huggingface.co/datasets/zd11024/Video-3D-LLM_data (boxes); "
    "www.scan-net.org for the scenes; or `vega3d rooms export`",
    licence=f"questions for research, see their page; {TERMS}",
    truth="gt_boxes",
)
