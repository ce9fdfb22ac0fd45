"""What a benchmark is on disk: questions with their media, and the facts that a run has to report.

Decision: a *task* scores and a *suite* asks; one suite serves every protocol of its benchmark. A suite reads
only what lies on this disk. It never downloads: the data have licences that a person has to accept.

This module knows no benchmark and no model.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vega3d.errors import DependencyError, InputError


@dataclass(frozen=True)
class Question:
    """One question about one clip.

    Attributes:
        id: unique in its suite.
        record: the row of the benchmark, with every field that its protocols read.
        media: path of a video or of a folder of pictures; it need not exist.
        scene: the room; questions that share it are not independent.
        kind: the type of question that results are listed by.
    """

    id: str
    record: Mapping[str, Any]
    media: Path
    scene: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes:
        name: the first part of the names of its tasks.
        read: questions of a folder, in the order of the benchmark's own file.
        official: number of questions of the whole split; None where nobody has published it.
        value: the field of a scored sample, 0..1, that standard errors are taken of.
        frames: how many frames a model sees; evenly spaced, ends included, truncated to whole numbers.
        max_new_tokens: length of an answer.
        system: system prompt; empty leaves the host's own.
        layout: files that `read` looks for, in words.
        where: where a person gets them.
        licence: under which terms.
        merged: kinds that count as one in the macro mean, by the name of that one.
        truth: the field of a record that holds the true answer.
    """

    name: str
    read: Callable[[Path], list[Question]]
    official: int | None
    value: str
    frames: int
    max_new_tokens: int
    system: str = ""
    layout: str
    where: str
    licence: str
    merged: Mapping[str, str] = field(default_factory=dict)
    truth: str = "ground_truth"


def first_of(root: Path, names: tuple[str, ...], suite: str) -> Path:
    """The first of the named files that exists.

    Raises:
        InputError: none does.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(
        f"{root} holds no questions of {suite}.",
        got=f"none of {', '.join(names)}",
        expected="one of these files",
        fix=f"`vega3d eval check {suite} --data {root}` says where they come from",
    )


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON list, of JSON Lines or of a parquet file.

    Raises:
        InputError: the file cannot be read as such.
        DependencyError: it is parquet, and pyarrow is not installed.
    """
    try:
        if file.suffix == ".parquet":
            return _parquet(file)
        content = file.read_text(encoding="utf-8-sig")
        lines = content.splitlines() if file.suffix == ".jsonl" else []
        rows = [json.loads(line) for line in lines if line.strip()] if lines else json.loads(content)
    except (OSError, ValueError) as error:
        raise _unreadable(file, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from None
    if isinstance(rows, dict):  # SQA3D wraps its list
        rows = next((value for value in rows.values() if isinstance(value, list)), [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable(file, "something else than a list of objects")
    return rows


def _parquet(file: Path) -> list[dict[str, Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")  # it has no types
    except ImportError:
        raise DependencyError(
            f"{file.name} cannot be read without pyarrow.",
            got="pyarrow is not installed",
            expected="pyarrow, or the same rows as test.jsonl",
            fix="pip install pyarrow",
        ) from None
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def media_of(root: Path, places: tuple[str, ...]) -> Path:
    """The first place that exists, or the first of all: a missing clip is an error of its question only."""
    return next((root / place for place in places if (root / place).exists()), root / places[0])


def _unreadable(file: Path, got: str) -> InputError:
    expected = "a JSON list, JSON Lines or parquet, one object a question"
    return InputError(f"{file} cannot be read.", got=got, expected=expected, fix="get the file again")
