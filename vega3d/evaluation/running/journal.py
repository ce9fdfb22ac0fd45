"""The samples of a run on disk: one JSON line each, written when it is known and never changed.

Decision: a run is its folder. `run.json` says what was asked for; a second run with other settings is refused
there, so that no result mixes two models. Each process appends to a file of its own; a line that a killed
process has left half written is dropped when the run is taken up again, and its question is asked again.

This module knows no model and no benchmark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vega3d.errors import ConfigError
from vega3d.files import write_whole

Sample = dict[str, Any]


class Journal:
    """Samples in a folder.

    Args:
        folder: of the run; made if it is not there.
        settings: all that decides an answer, JSON-ready.
        rank: number of this process; each writes its own file.

    Raises:
        ConfigError: the folder holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        self._require_same(json.loads(json.dumps(settings)))

    def samples(self) -> dict[str, Sample]:
        """Every whole sample of every process by its key; the first line of a key counts."""
        found: dict[str, Sample] = {}
        for file in sorted((self.folder / "parts").glob("*.jsonl")):
            for line in file.read_bytes().split(b"\n")[:-1]:  # what follows the last line break is not whole
                sample = _parsed(line)
                if sample is not None:
                    found.setdefault(str(sample.get("key")), sample)
        return found

    def add(self, sample: Mapping[str, Any]) -> None:
        """Append one sample and wait until the disk has it."""
        file = self.folder / "parts" / f"{self.rank:04d}.jsonl"
        line = json.dumps(sample, ensure_ascii=False).encode() + b"\n"
        with file.open("a+b") as opened:
            if opened.tell() and not _ends_with_break(opened):
                line = b"\n" + line  # a killed process left half a line: close it
            opened.write(line)
            opened.flush()
            os.fsync(opened.fileno())

    def _require_same(self, settings: dict[str, Any]) -> None:
        file = self.folder / "run.json"
        if not file.is_file():
            write_json(file, settings)
            return
        known = _parsed(file.read_bytes()) or {}
        names = sorted({*known, *settings})
        if differing := [name for name in names if known.get(name) != settings.get(name)]:
            raise ConfigError(
                f"{self.folder} holds another run.",
                got="; ".join(f"{name}: {settings.get(name)!r}" for name in differing)[:400],
                expected="; ".join(f"{name}: {known.get(name)!r}" for name in differing)[:400],
                fix="pass another --out, or the same settings to go on with that run",
            )


def write_json(file: Path, value: object) -> Path:
    """Write strict JSON, whole or not at all."""
    content = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_whole(file, lambda part: part.write_text(content, encoding="utf-8"))


def _ends_with_break(opened: Any) -> bool:
    opened.seek(-1, os.SEEK_END)
    return bool(opened.read(1) == b"\n")


def _parsed(line: bytes) -> Sample | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
