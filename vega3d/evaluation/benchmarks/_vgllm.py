"""VG-LLM's records: frames, cameras and a ready-made prompt, for answers in camera coordinates.

`evaluation/<task>/*.json` holds one record a question; `images` are the sampled frames, in order, and every
number in an answer refers to them, so all of them are sent, whatever `--frames` is. Rooms are exported in
the same form. Source: LaVi-Lab/VG-LLM (README, converters), data set zd11024/VG-LLM-Data on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vega3d.evaluation.benchmark import Sample
from vega3d.evaluation.benchmarks._scannet import TERMS, listed_media
from vega3d.evaluation.files import Folder, are_paths, identifier, rows_of
from vega3d.evaluation.records import Field, Record

SOURCE = (
    "huggingface.co/datasets/zd11024/VG-LLM-Data; www.scan-net.org for the scenes; or `vega3d rooms export`"
)
LICENSE = f"records under the terms of their benchmarks; {TERMS}"
SYSTEM = "You are a helpful assistant."
IMAGES = Field("images", are_paths, "a list of paths")


def layout(name: str) -> str:
    """Place of the records of a benchmark, in words."""
    return f"evaluation/{name}/*val*.json (one file), and the frames that it names, below media/ or beside"


def question_type(row: Record) -> str:
    """`unique` or `multiple`, if the record states it."""
    metadata = row.get("metadata")
    return str(metadata.get("question_type", "all")) if isinstance(metadata, dict) else "all"


def reader(
    required: Sequence[Field] = (),
    optional: Sequence[Field] = (),
    kind: Callable[[Record], str] = question_type,
) -> Callable[[Folder], list[Sample]]:
    """A reader of the one file of validation records of a benchmark.

    Args:
        required: fields that each record has, beside its images.
        optional: fields that are usable if a record has them.
        kind: the kind of question of a record.
    """

    def read(folder: Folder) -> list[Sample]:
        rows = rows_of(_only_file(folder), (IMAGES, *required), (identifier("id"), *optional), ("id",))
        return [
            Sample(
                id=str(row.get("id", number)),
                record={**row, "question": row.get("prompt")},
                media=listed_media(folder, row["images"]),
                scene=Path(row["images"][0]).parent.name or "none",
                kind=kind(row),
            )
            for number, row in enumerate(rows)
        ]

    return read


def _only_file(folder: Folder) -> Path:
    files = sorted((folder.root / "evaluation" / folder.benchmark).glob("*val*.json"))
    if len(files) == 1:
        return files[0]
    what = "holds several sets of" if files else "holds no questions of"
    expected = f"one file evaluation/{folder.benchmark}/*val*.json"
    raise folder.unusable(what, ", ".join(file.name for file in files) or "no file", expected)
