"""Multi3DRefer on disk, asked by text: none, one or several boxes as JSON lines.

Nobody has published a way to ask this of a model that writes text: the question is Multi3DRefer's, the form
of the answer is VG-LLM's for detection (boxes in the first frame's camera). So a score under
`multi3drefer/official` is by its rules, and the prompt is ours: say so beside the number. A box is brought
into the room and widened to its axis-aligned box. An answer that is neither boxes nor `[]` is no prediction
and scores 0; it is not taken for "nothing there". `multi3drefer/vega` needs scores of proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vega3d.evaluation.literals import lines_within_fence
from vega3d.evaluation.records import Array, Field, is_list, matrix
from vega3d.evaluation.suites.media import Media
from vega3d.evaluation.suites.rows import read_json, rows_of, scene_name, sentence, unreadable
from vega3d.evaluation.suites.scannet import LAYOUT, TERMS, Matrix, first_camera, media_of_scenes
from vega3d.evaluation.suites.suite import Question, Suite, first_of
from vega3d.evaluation.suites.threedod import TEXT
from vega3d.evaluation.tasks import multi3drefer
from vega3d.evaluation.tasks.scanrefer_textbox import to_room
from vega3d.evaluation.tasks.threedod import parse
from vega3d.geometry.iou import rotation_zxy

FILES = ("multi3drefer_val.json", "benchmark/multi3drefer/multi3drefer_val.json")
BOXES = "metadata/scannet_val_gt_box.json"
CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)))


REQUIRED = (
    scene_name("scene_id"),
    sentence("description"),
    Field("object_ids", is_list, "a list of numbers"),
)


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions with the true boxes of `metadata/scannet_val_gt_box.json`."""
    rows = rows_of(first_of(root, FILES, "multi3drefer"), REQUIRED)
    boxes, scenes = first_of(root, (BOXES,), "multi3drefer"), {row["scene_id"] for row in rows}
    known = _boxes(boxes)
    media = media_of_scenes(root, scenes, follow_links=follow_links)
    cameras = {scene: first_camera(root, scene, follow_links=follow_links) for scene in scenes}
    return [
        _question(number, row, _wanted(row, known, boxes), cameras[row["scene_id"]], media[row["scene_id"]])
        for number, row in enumerate(rows)
    ]


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


def _boxes(file: Path) -> dict[str, list[Any]]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(boxes, list) for boxes in content.values()):
        raise unreadable(file, "something else than a list of boxes for each scene")
    return content


def _wanted(row: Mapping[str, Any], boxes: Mapping[str, list[Any]], file: Path) -> list[Any]:
    """The true boxes of a question: its objects' places in the list of their scene."""
    scene = f"scannet/{row['scene_id']}"
    known, places = boxes.get(scene, []), row["object_ids"]
    for place in places:
        if type(place) is not int or not 0 <= place < len(known):
            raise unreadable(file, f"no box of object {place!r} of {scene}")
    return [known[place] for place in places]


def _question(
    number: int, row: dict[str, Any], wanted: list[Any], camera: Matrix | None, media: Media
) -> Question:
    kind = str(row.get("eval_type"))
    more = {"id": number, "question_type": kind, "gt_boxes": wanted, "question": row["description"]}
    record = {**row, **more, "camera": None if camera is None else camera.tolist()}
    return Question(str(number), record, media, str(row["scene_id"]), kind)


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
