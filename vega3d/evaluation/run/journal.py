"""The answers of a run on disk: one JSON line each, written when it is known and never changed.

Decision: a run is its folder. `run.json` holds the settings; a second run with other settings is refused
there, so that no result mixes two models. Each process appends to a file of its own. A line that a killed
process has left half written, and a line whose checksum differs, is dropped when the run is resumed,
and its question is asked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vega3d._utils.files import make_folder, sweep_parts, sync, write_first, writing
from vega3d.errors import ConfigError
from vega3d.evaluation.run.checksums import as_json, encoded, summed, unsummed

Answer = dict[str, Any]
NAMES = frozenset(("key", "media", "donor", "prompt", "output", "error"))  # of the values of an answer
CUT = b"#cut"  # closes a line that a killed process has left half written


class Journal:
    """Answers in a folder.

    Args:
        folder: of the run; made if it is not there.
        settings: all that decides an answer, JSON-ready.
        rank: number of this process; each writes its own file.

    Attributes:
        damaged: file and number of each line that the last call of ``answers`` found damaged.

    Raises:
        ConfigError: the folder holds a run with other settings, or its settings are damaged.
        WriteError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        self.damaged: list[str] = []
        make_folder(folder / "parts")
        sweep_parts(folder)
        self._require_same(json.loads(json.dumps(settings)))

    def answers(self) -> dict[str, Answer]:
        """Every whole answer of every process by its key; the first line of a key counts."""
        answers: dict[str, Answer] = {}
        self.damaged = []
        for file in sorted((self.folder / "parts").glob("*.jsonl")):
            lines = file.read_bytes().split(b"\n")[:-1]  # what follows the last line break is not whole
            for number, line in enumerate(lines, 1):
                if (answer := _answer(line)) is not None:
                    answers.setdefault(answer["key"], answer)
                elif line and not line.endswith(CUT):
                    self.damaged.append(f"{file.name} line {number}")
        return answers

    def add(self, answer: Mapping[str, Any]) -> None:
        """Append one answer and wait until the disk has it.

        Raises:
            WriteError: the disk is full; answers that were added before are whole.
        """
        file = self.folder / "parts" / f"{self.rank:04d}.jsonl"
        line = encoded(json.dumps(summed(answer), ensure_ascii=False)) + b"\n"
        with writing(file), file.open("a+b") as opened:
            if not (is_new := opened.tell() == 0):
                opened.seek(-1, os.SEEK_END)
                line = line if opened.read(1) == b"\n" else CUT + b"\n" + line
            opened.write(line)
            opened.flush()
            os.fsync(opened.fileno())
            if is_new:
                sync(file.parent)

    def _require_same(self, settings: dict[str, Any]) -> None:
        file = self.folder / "run.json"
        write_first(file, lambda part: part.write_bytes(encoded(as_json(settings))))
        known = unsummed(file.read_bytes())  # of two runs that begin at once, one reads what the other wrote
        if known is None:
            what, expected = f"Invalid checksum: {file} is damaged.", "the settings, as the run wrote them"
            fix = "delete it and give exactly the command of that run, or pass another --out"
            raise ConfigError(what, got="no JSON, or another checksum", expected=expected, fix=fix)
        names = sorted({*known, *settings})
        if differing := [name for name in names if known.get(name) != settings.get(name)]:
            raise ConfigError(
                f"Invalid --out: {self.folder} holds another run.",
                got="; ".join(f"{name}: {settings.get(name)!r}" for name in differing)[:400],
                expected="; ".join(f"{name}: {known.get(name)!r}" for name in differing)[:400],
                fix="pass another --out, or the same settings to resume that run",
            )


def _answer(line: bytes) -> Answer | None:
    """The record of a line: an answer or an error, under the known names; None where it is damaged."""
    values = unsummed(line)
    if values is None or set(values) != NAMES or not isinstance(values["key"], str):
        return None
    output, error = values["output"], values["error"]
    is_one = (isinstance(output, str) and error is None) or (isinstance(error, str) and output is None)
    return values if is_one else None
