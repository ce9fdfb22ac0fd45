"""A stage runs once for its inputs: what lies on disk decides, so any run goes on after a kill.

Each stage has a folder. ``inputs.json`` says what it was begun with, ``result.json`` is written last and
says what came out. The same inputs find the result, or go on with what the folder holds; other inputs empty
the folder first, so that no result mixes two settings. The inputs of a stage name the results of those
before it by their digests. This module knows no stage.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vega3d._utils.files import write_whole
from vega3d.errors import ConfigError

INPUTS, RESULT = "inputs.json", "result.json"
CARD = ".md"
Made = dict[str, Any]


class Stages:
    """The stages of a run in a folder.

    Args:
        out: folder of the run.
        say: called with one line when a stage begins and ends.
    """

    def __init__(self, out: Path, say: Callable[[str], None] = print) -> None:
        self.out, self.say = Path(out), say

    def run(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], Made]) -> Made:
        """The result of a stage: read if it is there for these inputs, else made now.

        Args:
            name: of the stage and, under ``out``, of its folder.
            inputs: JSON-ready; all that decides the result.
            make: does the work in the stage's folder and returns a JSON-ready result. It may find there what
                an earlier, killed attempt with the same inputs left.
        """
        folder, wanted = self.out / name, digest_of(inputs)
        known = read_json(folder / RESULT)
        if known is not None and known.get("inputs") == wanted:
            return known
        self._begin(folder, inputs)
        self.say(f"[{name}] begins")
        start = time.monotonic()
        made = {"inputs": wanted, **make(folder)}
        made["digest"] = digest_of(made)
        made["seconds"] = round(time.monotonic() - start, 1)  # of the attempt that ended it
        write_json(folder / RESULT, made)
        self.say(f"[{name}] done in {made['seconds']:.0f} s")
        return made

    def _begin(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(inputs))
        begun = read_json(folder / INPUTS)
        if begun is None and folder.exists() and any(folder.iterdir()):
            raise ConfigError(
                f"{folder} holds files of something else.",
                got=f"no {INPUTS}",
                expected="an empty folder, or one that this run began",
                fix="choose another --out",
            )
        if begun is not None and begun != plain:
            self.say(f"[{folder.name}] was begun with other inputs: made again")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / INPUTS, plain)


def digest_of(value: object) -> str:
    """SHA-256 of a JSON-ready value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def digest_of_files(folder: Path, pattern: str = "*") -> str:
    """SHA-256 of names and bytes of the files under a folder, without the words of a model's card."""
    total = hashlib.sha256()
    for file in sorted(path for path in Path(folder).rglob(pattern) if path.is_file()):
        if file.suffix == CARD:
            continue
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()[:16]


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file; None if it is not there or not whole."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(file: Path, value: object) -> Path:
    """Strict JSON, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
