"""CV-Bench and BLINK on disk share a form: one row a question, its pictures inside the row, lettered choices.

On the hub the rows are parquet with the pictures in them; as JSON Lines a picture is a path below the file's
folder. Pictures are no clip: each stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vega3d.evaluation.suites.media import Pictures, parquet
from vega3d.evaluation.suites.suite import first_of, rows_of


def rows_of_parts(
    root: Path, parts: Sequence[str], whole: str, columns: tuple[str, ...], suite: str
) -> list[tuple[dict[str, Any], Pictures]]:
    """The rows of those parts that are there, or of the file that holds everything.

    Raises:
        InputError: none of the files is there, or one cannot be read.
        DependencyError: one is parquet, and pyarrow is not installed.
    """
    first = first_of(root, (*parts, whole), suite)
    files = [root / name for name in parts if (root / name).is_file()] or [first]
    return [row for file in files for row in rows_with_pictures(file, columns)]


def rows_with_pictures(file: Path, columns: tuple[str, ...]) -> list[tuple[dict[str, Any], Pictures]]:
    """Each row without its pictures, and where these are.

    Args:
        file: parquet or JSON Lines.
        columns: of pictures; one that is empty in a row is left out.

    Raises:
        InputError: the file cannot be read.
        DependencyError: it is parquet, and pyarrow is not installed.
    """
    if file.suffix == ".parquet":
        return _embedded(file, columns)
    return [
        (row, Pictures(tuple(str(file.parent / row[name]) for name in columns if row.get(name)), clip=False))
        for row in rows_of(file)
    ]


def chance(record: dict[str, Any]) -> float | None:
    """The accuracy of a guess."""
    choices = record.get("choices")
    return 1 / len(choices) if isinstance(choices, list) and choices else None


def _embedded(file: Path, columns: tuple[str, ...]) -> list[tuple[dict[str, Any], Pictures]]:
    """Rows of a parquet file; pictures are named and not read."""
    opened = parquet().ParquetFile(file)
    names = [name for name in opened.schema_arrow.names if name not in columns]
    there = [name for name in columns if name in opened.schema_arrow.names]
    rows = opened.read(columns=names).to_pylist()
    full = [opened.read(columns=[name])[name].is_valid().to_pylist() for name in there]
    places = [
        tuple(f"{file}#{number}/{name}" for name, column in zip(there, full, strict=True) if column[number])
        for number in range(len(rows))
    ]
    return [(row, Pictures(own, clip=False)) for row, own in zip(rows, places, strict=True)]
