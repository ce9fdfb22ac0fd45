"""Result and samples of a run on disk, with sums: a damaged file is refused, not reported or compared.

The result's own sum stands in it, and so does the sum of the samples' bytes. Files of version 0.1 have none
and are read. Both files are made of the journal alone, so the run's own command writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from vega3d.errors import InputError
from vega3d.evaluation.running.sums import encoded, unsummed, write_json, write_text

RESULT, SAMPLES = "result.json", "samples.jsonl"
SAMPLES_SUM = "samples_xxh3"  # in the result: of the bytes of the samples
NAMES = {"task", "protocol", "headline", "count", "micro", "macro", "kinds", "provenance"}  # of every result
ROW_NAMES = {"id", "kind", "scene", "media", "question", "truth", "output", "score", "error"}


def write_result(folder: Path, result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``samples.jsonl``, then ``result.json`` with the sums of both.

    Raises:
        WriteError: the folder cannot be written.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / SAMPLES, lines)
    write_json(folder / RESULT, {**result, SAMPLES_SUM: xxhash.xxh3_64_hexdigest(encoded(lines))})


def read_result(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result and samples of a finished run, as they were written.

    Raises:
        InputError: the folder holds no finished run, or a file of it is damaged.
    """
    try:
        written, lines = (folder / RESULT).read_bytes(), (folder / SAMPLES).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder} holds no finished run.",
            got=f"{type(error).__name__}: {error}",
            expected=f"{RESULT} and {SAMPLES}, as `vega3d eval run` writes them (one folder a task)",
            fix="finish the run: give its command again",
        ) from None
    result = unsummed(written)
    if result is None or not set(result) >= NAMES:
        raise _damaged(folder / RESULT)
    expected = result.pop(SAMPLES_SUM, None)
    rows = [unsummed(line) for line in lines.split(b"\n") if line]
    if expected not in (None, xxhash.xxh3_64_hexdigest(lines)):
        raise _damaged(folder / SAMPLES)
    whole = [row for row in rows if row is not None and set(row) >= ROW_NAMES]
    if len(whole) < len(rows):
        raise _damaged(folder / SAMPLES)
    return result, whole


def _damaged(file: Path) -> InputError:
    return InputError(
        f"{file} is damaged.",
        got="values that are missing, or that the run's checksum is not of",
        expected="the file as `vega3d eval run` wrote it",
        fix="give the command of the run again: answers are kept, and the file is written anew",
    )
