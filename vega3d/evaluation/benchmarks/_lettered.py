"""CV-Bench and BLINK: one row a question, its pictures inside the row, lettered choices.

On the hub the rows are parquet with the pictures in them; as JSON Lines a picture is a path below the file's
folder. Pictures are not frames of a clip: each stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vega3d.evaluation.benchmark import Scores, metrics
from vega3d.evaluation.files import Folder, is_sentence, reading, rows_of, sentence, unusable
from vega3d.evaluation.media import Pictures, parquet
from vega3d.evaluation.metrics.choices import first_capital, truth_letter
from vega3d.evaluation.metrics.means import Means, mean
from vega3d.evaluation.records import Field, Record, add_ids, is_text, mappings, text

Rows = list[tuple[dict[str, Any], Pictures]]
FRAMES = "These are frames of a video."
ASK = "Answer with the option's letter from the given choices directly."
LMMS = "lmms_eval_0_7_3"
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


def score_letters(
    samples: Sequence[object],
    means_of: Callable[[list[Record], list[float]], Means],
    printed: str,
    lmms_letter: Callable[[Record], str],
    lmms_printed: str = "",
) -> Scores:
    """Scores by VG-LLM's reading of a letter, and by lmms-eval's in a block of its own.

    Args:
        samples: the records.
        means_of: the table of records and their hits.
        printed: the number of the table that is printed.
        lmms_letter: the letter that lmms-eval reads in a record's answer.
        lmms_printed: the name of that number in lmms-eval's block; it has none if empty.
    """
    records = mappings(samples)
    rows = _hits(records, [first_capital(text(record, "prediction")) for record in records])
    means = means_of(records, [float(row["correct"]) for row in rows])
    lmms_rows = _hits(records, [lmms_letter(record) for record in records])
    micro = {"micro_accuracy": mean(float(row["correct"]) for row in lmms_rows)}
    block = {"per_sample": [row | {"correct": bool(row["correct"])} for row in lmms_rows], **micro}
    if lmms_printed:
        block[lmms_printed] = means_of(records, [float(row["correct"]) for row in lmms_rows])[printed]
    numbers = [*metrics("aggregate_fraction", means, [printed]), *metrics(LMMS, micro, micro)]
    return Scores(rows, {"aggregate_fraction": means, LMMS: block}, metrics=numbers)


def _hits(records: Sequence[Record], letters: Sequence[str]) -> list[dict[str, Any]]:
    """Letter and hit of each record."""
    truths = [truth_letter(text(record, "answer")) for record in records]
    rows = [
        {"extracted": letter, "correct": int(bool(truth) and truth == letter)}
        for truth, letter in zip(truths, letters, strict=True)
    ]
    return add_ids(records, rows, "idx")


def prompt_of(question: str, options: Sequence[str]) -> str:
    """VG-LLM's and VSI-Bench's text; its "frames of a video" also stands for single pictures."""
    return "\n".join((FRAMES, question, "Options:", "\n".join(options), ASK))


def chance_among(name: str) -> Callable[[Record], float | None]:
    """Accuracy of a guess among the options that a record has under ``name``; None without options."""

    def chance(record: Record) -> float | None:
        options = record.get(name)
        return 1 / len(options) if isinstance(options, list) and options else None

    return chance


def _named(folder: Folder, file: Path, columns: tuple[str, ...], required: Sequence[Field]) -> Rows:
    """Rows of JSON Lines; pictures are paths."""
    more = [Field(name, lambda value: not value or is_sentence(value), "a path") for name in columns[1:]]
    rows = rows_of(file, (*required, sentence(columns[0])), more)
    beside = replace(folder, root=file.parent)
    names = [[row[name] for name in columns if row.get(name)] for row in rows]
    return [(row, beside.pictures(named, clip=False)) for row, named in zip(rows, names, strict=True)]


def _embedded(folder: Folder, file: Path, columns: tuple[str, ...], required: Sequence[Field]) -> Rows:
    """Rows of a parquet file; pictures are named and not kept."""
    rows = rows_of(file, required, without=columns)
    with reading(file):
        table = parquet().ParquetFile(file)
        present = [name for name in columns if name in table.schema_arrow.names]
        full = {name: table.read(columns=[name])[name].is_valid().to_pylist() for name in present}
    result: Rows = []
    for number, row in enumerate(rows):
        pictures = [name for name in present if full[name][number]]
        if columns[0] not in pictures:
            raise unusable(file, f"row {number + 1}", columns[0], "missing", None, "a picture")
        result.append((row, Pictures(tuple(f"{file}#{number}/{name}" for name in pictures), clip=False)))
    return result
