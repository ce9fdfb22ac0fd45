"""ScanQA on disk: its validation questions, and clips of ScanNet scenes.

Source: ATR-DBI/ScanQA, Video-3D-LLM's runner (32 frames, 512 new tokens). The true answers of its test splits
are not public, so the validation split is what papers report. ScanNet's frames come as videos or as folders
of pictures, in the order of their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vega3d.evaluation.suites.rows import identifier, rows_of, scene_name, sentence
from vega3d.evaluation.suites.scannet import LAYOUT, TERMS, media_of_scenes
from vega3d.evaluation.suites.suite import Question, Suite, first_of

FILES = ("ScanQA_v1.0_val.json", "benchmark/scanqa/ScanQA_v1.0_val.json")


REQUIRED = (scene_name("scene_id"), sentence("question"))
ID = "question_id"


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions of ``ScanQA_v1.0_val.json`` about scenes below ``scannet/``."""
    rows = rows_of(first_of(root, FILES, "scanqa"), REQUIRED, (identifier(ID),), unique=(ID,))
    media = media_of_scenes(root, (row["scene_id"] for row in rows), follow_links=follow_links)
    return [
        Question(
            id=str(row.get(ID, number)),
            record=row,
            media=media[row["scene_id"]],
            scene=str(row["scene_id"]),
            kind=row["question"].split()[0].lower(),
        )
        for number, row in enumerate(rows)
    ]


SUITE = Suite(
    name="scanqa",
    read=read,
    official=4675,
    value="em",
    frames=32,
    max_new_tokens=512,
    layout=f"{FILES[0]} or {FILES[1]}; {LAYOUT}",
    where="github.com/ATR-DBI/ScanQA (docs/dataset.md); www.scan-net.org for the scenes; "
    "or `vega3d rooms export`",
    licence=f"questions CC BY-NC-SA 3.0; {TERMS}",
    truth="answers",
)
OTHERS = {"scanqa/official": replace(SUITE, value="em1")}
