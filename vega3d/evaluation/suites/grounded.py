"""VG-LLM's records: frames, cameras and a ready-made prompt, for answers in camera coordinates.

`evaluation/<task>/*.json` holds one record a question; `images` are the sampled frames, in order, and every
number in an answer refers to them, so all of them are sent, whatever `--frames` says. Rooms are exported in
the same form. Source: LaVi-Lab/VG-LLM (README, converters), data set zd11024/VG-LLM-Data on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vega3d.errors import InputError
from vega3d.evaluation.records import Field
from vega3d.evaluation.suites.rows import are_paths, identifier, rows_of
from vega3d.evaluation.suites.scannet import TERMS, listed_media
from vega3d.evaluation.suites.suite import Question, Reader

WHERE = (
    "huggingface.co/datasets/zd11024/VG-LLM-Data; www.scan-net.org for the scenes; or `vega3d rooms export`"
)
LICENCE = f"records under the terms of their benchmarks; {TERMS}"


def layout(task: str) -> str:
    """Where the records of a task lie, in words."""
    return f"evaluation/{task}/*val*.json (one file), and the frames that it names, below media/ or beside"


IMAGES = Field("images", are_paths, "a list of paths")


def reader(
    task: str,
    kind: Callable[[dict[str, Any]], str],
    required: Sequence[Field] = (),
    optional: Sequence[Field] = (),
) -> Reader:
    """A reader of the one file of validation records of a task.

    Args:
        task: its folder under `evaluation/`.
        kind: the kind of question of a record.
        required: fields that each record has, beside its images.
        optional: fields that are usable where a record has them.
    """

    def read(root: Path, *, follow_links: bool = False) -> list[Question]:
        rows = rows_of(_only_file(root, task), (IMAGES, *required), (identifier("id"), *optional), ("id",))
        return [
            Question(
                id=str(row.get("id", number)),
                record={**row, "question": row.get("prompt")},
                media=listed_media(root, row["images"], follow_links=follow_links),
                scene=_scene(row),
                kind=kind(row),
            )
            for number, row in enumerate(rows)
        ]

    return read


def question_type(row: dict[str, Any]) -> str:
    """`unique` or `multiple`, where the record says so."""
    about = row.get("metadata")
    return str(about.get("question_type", "all")) if isinstance(about, dict) else "all"


def _scene(row: dict[str, Any]) -> str:
    return Path(row["images"][0]).parent.name or "none"


def _only_file(root: Path, task: str) -> Path:
    found = sorted((root / "evaluation" / task).glob("*val*.json"))
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{root} holds no questions of {task}." if not found else f"{root} holds several sets of {task}.",
        got=", ".join(file.name for file in found) or "no file",
        expected=f"one file evaluation/{task}/*val*.json",
        fix=f"`vega3d eval check {task} --data {root}` says where it comes from" if not found else "keep one",
    )
