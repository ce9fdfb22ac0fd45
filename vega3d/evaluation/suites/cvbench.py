"""CV-Bench on disk: the hub's two parquet files, or an export of rooms.

Questions about one picture share it, so errors are taken over pictures. Source: huggingface.co/datasets/
nyu-visionx/CV-Bench (2,638 rows, configs 2D and 3D); VG-LLM's runner (16 new tokens).
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.choices import chance, rows_of_parts
from vega3d.evaluation.suites.rows import CHOICES, sentence
from vega3d.evaluation.suites.suite import Question, Suite

FILES = ("test_2d.parquet", "test_3d.parquet")
ROOMS = "cvbench/test.jsonl"


REQUIRED = (sentence("question"), CHOICES)


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions of both files; of one alone if the other is not there (the count says so)."""
    rows = rows_of_parts(root, FILES, ROOMS, ("image",), "cvbench", REQUIRED, follow_links=follow_links)
    return [
        Question(
            id=f"{record.get('type')}-{record.get('idx', number)}",
            record=record,
            media=media,
            scene=str(record.get("source_filename") or record.get("filename") or number),
            kind=str(record.get("task")),
        )
        for number, (record, media) in enumerate(rows)
    ]


SUITE = Suite(
    name="cvbench",
    read=read,
    official=2638,
    value="correct",
    frames=32,
    max_new_tokens=16,
    system="You are a helpful assistant.",
    layout=f"{FILES[0]} and {FILES[1]}, or {ROOMS} with its pictures",
    where="huggingface.co/datasets/nyu-visionx/CV-Bench; or `vega3d rooms export --layout pictures`",
    licence="apache-2.0; pictures under the terms of ADE20K, COCO and Omni3D",
    truth="answer",
    by_sample=True,
    chance=chance,
)
