"""ScanQA on disk: its validation questions, and clips of ScanNet scenes.

Source: ATR-DBI/ScanQA, Video-3D-LLM's runner (32 frames, 512 new tokens). The true answers of its test splits
are not public, so the validation split is what papers report. ScanNet's frames come as videos or as folders
of pictures, in the order of their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vega3d.evaluation.suites.scannet import LAYOUT, TERMS, scene_media
from vega3d.evaluation.suites.suite import Question, Suite, first_of, rows_of

FILES = ("ScanQA_v1.0_val.json", "benchmark/scanqa/ScanQA_v1.0_val.json")


def read(root: Path) -> list[Question]:
    """Questions of ``ScanQA_v1.0_val.json`` about scenes below ``scannet/``."""
    rows = rows_of(first_of(root, FILES, "scanqa"))
    return [
        Question(
            id=str(row.get("question_id", number)),
            record=row,
            media=scene_media(root, row.get("scene_id")),
            scene=str(row.get("scene_id")),
            kind=(str(row.get("question", "")).split() or ["none"])[0].lower(),
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
