"""VSI-Bench on disk: the official files, or an export of vega3d's rooms, which has the same form.

Source: huggingface.co/datasets/nyu-visionx/VSI-Bench (5,130 rows), thinking-in-space's runner: 32 frames,
each sent as a picture, 16 new tokens. A scene's name can look like a number and is text all the same. The
debiased set is the same file without the ids in `pruned_ids.txt`, which stands beside it on the hub
(arXiv:2511.04655, `create_pq.py` there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vega3d.errors import InputError
from vega3d.evaluation.suites.media import Media, named
from vega3d.evaluation.suites.rows import OPTIONS, identifier, read_text, rows_of, scene_name, sentence
from vega3d.evaluation.suites.suite import Question, Suite, first_of
from vega3d.evaluation.tasks.vsibench import DIRECTIONS

FILES = ("test.jsonl", "test-00000-of-00001.parquet")
PRUNED = "pruned_ids.txt"
REQUIRED = (scene_name("dataset"), scene_name("scene_name"), sentence("question"), sentence("question_type"))
OPTIONAL = (OPTIONS, identifier("id"))


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions of ``<root>/test.jsonl`` about ``<root>/<dataset>/<scene_name>.mp4``."""
    rows = rows_of(first_of(root, FILES, "vsibench"), REQUIRED, OPTIONAL, unique=("id",))
    media: dict[str, Media] = {
        name: named(root, name, follow_links=follow_links) for name in map(_clip, rows)
    }
    return [
        Question(
            id=str(row.get("id", number)),
            record=row,
            media=media[_clip(row)],
            scene=_clip(row).removesuffix(".mp4"),
            kind=row["question_type"],
        )
        for number, row in enumerate(marked(rows, root / PRUNED))
    ]


def _clip(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']}/{row['scene_name']}.mp4"


def chance(record: Mapping[str, Any]) -> float | None:
    """The accuracy of a guess among the options; None for numbers."""
    options = record.get("options")
    return 1 / len(options) if isinstance(options, list) and options else None


def read_debiased(root: Path, *, follow_links: bool = False) -> list[Question]:
    """The same questions, each with its mark ``pruned``.

    Raises:
        InputError: nobody is marked, so that the whole benchmark would go by the name of the debiased one.
    """
    questions = read(root, follow_links=follow_links)
    if questions and not any("pruned" in question.record for question in questions):
        raise InputError(
            f"{root} does not say which questions the debiased set leaves out.",
            got=f"{len(questions)} questions without `pruned`, and no {PRUNED}",
            expected=f"{PRUNED} beside the questions, one id a line",
            fix="get it from huggingface.co/datasets/nyu-visionx/VSI-Bench",
        )
    return questions


def marked(rows: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """Rows with ``pruned`` as the file of ids says; as they are where there is no file."""
    if not file.is_file():
        return rows
    pruned = set(read_text(file).split())
    return [{**row, "pruned": str(row.get("id")) in pruned} for row in rows]


SUITE = Suite(
    name="vsibench",
    read=read,
    official=5130,
    value="score",
    frames=32,
    max_new_tokens=16,
    system="You are a helpful assistant.",
    layout="test.jsonl or test-00000-of-00001.parquet, and <dataset>/<scene_name>.mp4",
    where="huggingface.co/datasets/nyu-visionx/VSI-Bench (unpack the three zip files); "
    "or `vega3d rooms make`",
    licence="questions apache-2.0; videos under the terms of ScanNet, ScanNet++ and ARKitScenes",
    by_sample=True,
    chance=chance,
    merged=dict.fromkeys(DIRECTIONS, "object_rel_direction"),
)
DEBIASED = replace(SUITE, read=read_debiased, official=None, layout=f"{SUITE.layout}; {PRUNED}")
OTHERS = {"vsibench/debiased": DEBIASED, "vsibench/debiased-lmms-eval": DEBIASED}
