"""BLINK's three spatial sub-tasks on disk: the hub's parquet files, or an export of rooms.

Pictures are sent as they are; VG-LLM cuts pictures of differing sizes to squares, which loses their rims
and is not repeated. Source: huggingface.co/datasets/BLINK-Benchmark/BLINK, split val; VG-LLM's runner (16 new
tokens).
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.choices import chance, rows_of_parts
from vega3d.evaluation.suites.rows import sentence
from vega3d.evaluation.suites.suite import Question, Suite
from vega3d.evaluation.tasks.blink_spatial import SUB_TASKS

FILES = tuple(f"{name}/val-00000-of-00001.parquet" for name in SUB_TASKS)
ROOMS = "blink/val.jsonl"
COLUMNS = ("image_1", "image_2", "image_3", "image_4")


REQUIRED = (sentence("prompt"),)


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions of the sub-tasks that are there (the count says if one is missing)."""
    rows = rows_of_parts(root, FILES, ROOMS, COLUMNS, "blink_spatial", REQUIRED, follow_links=follow_links)
    return [
        Question(
            id=str(record.get("idx", number)),
            record=record,
            media=media,
            scene=str(record.get("scene_name") or record.get("idx", number)),
            kind=str(record.get("sub_task")),
        )
        for number, (record, media) in enumerate(rows)
    ]


SUITE = Suite(
    name="blink_spatial",
    read=read,
    official=400,
    value="correct",
    frames=32,
    max_new_tokens=16,
    layout=f"<sub-task>/val-00000-of-00001.parquet of {', '.join(SUB_TASKS)}, or {ROOMS} with its pictures",
    where="huggingface.co/datasets/BLINK-Benchmark/BLINK; or `vega3d rooms export --layout pictures`",
    licence="apache-2.0; pictures under the terms of their sources",
    truth="answer",
    by_sample=True,
    chance=chance,
)
