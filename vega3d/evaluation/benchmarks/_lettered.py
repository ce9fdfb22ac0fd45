"""CV-Bench and BLINK: one row a question, its pictures inside the row, lettered choices.

On the hub the rows are parquet with the pictures in them; as JSON Lines a picture is a path below the file's
folder. Pictures are not frames of a clip: each stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vega3d.evaluation.files import Folder, checked, is_sentence, reading, rows_of, sentence, unusable
from vega3d.evaluation.media import Pictures, parquet
from vega3d.evaluation.metrics.choices import truth_letter
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, Record, identity, is_text, text

Rows = list[tuple[dict[str, Any], Pictures]]
FIELDS = (
    Field("prediction", is_text, "the model's answer"),
    Field("answer", is_text, 'such as "(B)"'),
)


def read_rows(
    folder: Folder, parts: Sequence[str], whole: str, columns: tuple[str, ...], required: Sequence[Field]
) -> Rows:
    """The rows of those parts that exist, or of the file that holds everything, each with its pictures.

    Args:
        folder: of the benchmark.
        parts: parquet files of the hub.
        whole: JSON Lines of an export of rooms.
        columns: of pictures; each row has the first one.
        required: fields that each row has, beside its pictures.

    Raises:
        InputError: none of the files exists, one cannot be read, or a picture is outside the folder.
        DependencyError: one is parquet, and pyarrow is not installed.
    """
    first = folder.first(*parts, whole)
    files = [folder.root / name for name in parts if (folder.root / name).is_file()] or [first]
    read = {".parquet": _embedded, ".jsonl": _named}
    return [row for file in files for row in read[file.suffix](folder, file, columns, required)]


def scores_of(
    records: Sequence[Record], letters: Sequence[str]
) -> tuple[list[dict[str, Any]], list[float | None]]:
    """Letter and hit of each record, and the hits as numbers."""
    truths = [truth_letter(text(record, "answer")) for record in records]
    correct = [int(bool(truth) and truth == letter) for truth, letter in zip(truths, letters, strict=True)]
    rows = [
        {"idx": identity(record, "idx"), "extracted": letter, "correct": right}
        for record, letter, right in zip(records, letters, correct, strict=True)
    ]
    return rows, [float(right) for right in correct]


def lmms_eval_block(
    records: Sequence[Record], letters: Sequence[str]
) -> tuple[dict[str, Any], list[float | None]]:
    """lmms-eval's rows and micro average, and the hits as numbers."""
    rows, correct = scores_of(records, letters)
    per_sample = [row | {"correct": bool(row["correct"])} for row in rows]
    return {"per_sample": per_sample, "micro_accuracy": mean(correct)}, correct


def chance(record: Record) -> float | None:
    """The accuracy of a guess."""
    choices = record.get("choices")
    return 1 / len(choices) if isinstance(choices, list) and choices else None


def _named(folder: Folder, file: Path, columns: tuple[str, ...], required: Sequence[Field]) -> Rows:
    """Rows of JSON Lines; pictures are paths."""
    more = [Field(name, lambda value: not value or is_sentence(value), "a path") for name in columns[1:]]
    rows = rows_of(file, (*required, sentence(columns[0])), more)
    beside = replace(folder, root=file.parent)
    names = [[row[name] for name in columns if row.get(name)] for row in rows]
    return [(row, beside.pictures(named, clip=False)) for row, named in zip(rows, names, strict=True)]


def _embedded(folder: Folder, file: Path, columns: tuple[str, ...], required: Sequence[Field]) -> Rows:
    """Rows of a parquet file; pictures are named and not kept."""
    with reading(file):
        opened = parquet().ParquetFile(file)
        names = opened.schema_arrow.names
        rows = opened.read(columns=[name for name in names if name not in columns]).to_pylist()
        present = [name for name in columns if name in names]
        full = {name: opened.read(columns=[name])[name].is_valid().to_pylist() for name in present}
    placed = [(f"row {number}", row) for number, row in enumerate(rows, 1)]
    result: Rows = []
    for number, row in enumerate(checked(placed, file, required)):
        pictures = [name for name in present if full[name][number]]
        if columns[0] not in pictures:
            raise unusable(file, placed[number][0], columns[0], "missing", None, "a picture")
        result.append((row, Pictures(tuple(f"{file}#{number}/{name}" for name in pictures), clip=False)))
    return result
