"""ScanQA on disk: its validation questions, and clips of ScanNet scenes.

Source: ATR-DBI/ScanQA, Video-3D-LLM's runner (32 frames, 512 new tokens). The true answers of its test splits
are not public, so the validation split is what papers report. ScanNet's frames come as videos or as folders
of pictures, in the order of their names.
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.suite import Question, Suite, first_of, media_of, rows_of


def read(root: Path) -> list[Question]:
    """Questions of ``<root>/ScanQA_v1.0_val.json`` about ``<root>/scannet/<scene_id>``."""
    rows = rows_of(first_of(root, ("ScanQA_v1.0_val.json",), "scanqa"))
    return [
        Question(
            id=str(row.get("question_id", number)),
            record=row,
            media=media_of(root, tuple(f"scannet/{row.get('scene_id')}{end}" for end in (".mp4", ""))),
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
    layout="ScanQA_v1.0_val.json, and scannet/<scene_id>.mp4 or scannet/<scene_id>/*.jpg",
    where="github.com/ATR-DBI/ScanQA (docs/dataset.md); www.scan-net.org for the scenes",
    licence="questions CC BY-NC-SA 3.0; scenes under ScanNet's terms of use, to be signed",
    truth="answers",
)
