"""CV-Bench and BLINK on disk share a form: one row a question, its pictures inside the row, lettered choices.

On the hub the rows are parquet with the pictures in them; as JSON Lines a picture is a path below the file's
folder. Pictures are no clip: each stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vega3d.evaluation.records import Field
from vega3d.evaluation.suites.media import Pictures, named_pictures, parquet
from vega3d.evaluation.suites.rows import checked, is_sentence, reading, rows_of, sentence, unusable
from vega3d.evaluation.suites.suite import first_of

Rows = list[tuple[dict[str, Any], Pictures]]


def rows_of_parts(
    root: Path,
    parts: Sequence[str],
    whole: str,
    columns: tuple[str, ...],
    suite: str,
    required: Sequence[Field],
    *,
    follow_links: bool = False,
) -> Rows:
    """The rows of those parts that are there, or of the file that holds everything.

    Raises:
        InputError: none of the files is there, or one cannot be read.
        DependencyError: one is parquet, and pyarrow is not installed.
    """
    first = first_of(root, (*parts, whole), suite)
    files = [root / name for name in parts if (root / name).is_file()] or [first]
    rows = (rows_with_pictures(file, columns, required, follow_links=follow_links) for file in files)
    return [row for part in rows for row in part]


def rows_with_pictures(
    file: Path, columns: tuple[str, ...], required: Sequence[Field] = (), *, follow_links: bool = False
) -> Rows:
    """Each row without its pictures, and where these are.

    Args:
        file: parquet or JSON Lines.
        columns: of pictures; the first has one in every row, another one that is empty is left out.
        required: fields that each row has, beside its pictures.
        follow_links: follow links that lead out of the file's folder.

    Raises:
        InputError: the file or a row cannot be read, or a picture is outside the file's folder.
        DependencyError: it is parquet, and pyarrow is not installed.
    """
    if file.suffix == ".parquet":
        return _embedded(file, columns, required)
    more = [Field(name, lambda value: not value or is_sentence(value), "a path") for name in columns[1:]]
    rows = rows_of(file, (*required, sentence(columns[0])), more)
    names = [[row[name] for name in columns if row.get(name)] for row in rows]
    pictures = [named_pictures(file.parent, own, clip=False, follow_links=follow_links) for own in names]
    return list(zip(rows, pictures, strict=True))


def chance(record: dict[str, Any]) -> float | None:
    """The accuracy of a guess."""
    choices = record.get("choices")
    return 1 / len(choices) if isinstance(choices, list) and choices else None


def _embedded(file: Path, columns: tuple[str, ...], required: Sequence[Field]) -> Rows:
    """Rows of a parquet file; pictures are named and not kept."""
    with reading(file):
        opened = parquet().ParquetFile(file)
        names = opened.schema_arrow.names
        rows = opened.read(columns=[name for name in names if name not in columns]).to_pylist()
        present = [name for name in columns if name in names]
        full = {name: opened.read(columns=[name])[name].is_valid().to_pylist() for name in present}
    placed = [(f"row {number}", row) for number, row in enumerate(rows, 1)]
    rows = checked(placed, file, required)
    pictures = []
    for number, (place, _) in enumerate(placed):
        own = [name for name in present if full[name][number]]
        if columns[0] not in own:
            raise unusable(file, place, columns[0], "missing", None, "a picture")
        pictures.append(Pictures(tuple(f"{file}#{number}/{name}" for name in own), clip=False))
    return list(zip(rows, pictures, strict=True))
