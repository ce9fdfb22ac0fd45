"""Whole checkpoints and half-written ones.

A checkpoint is whole when the last thing that is written says so: ``complete.json``, with the size of every
file. A process that is killed at any moment leaves a folder without it, or none. Nothing is deleted before
the newer one is whole.

This module knows no model and no optimizer.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from vega3d import files

MARK = "complete.json"
PREFIX = "checkpoint-"


def mark_complete(folder: str | os.PathLike[str]) -> None:
    """Say that everything of a checkpoint is on disk."""
    path = Path(folder)
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in _files(path)}
    text = json.dumps({"files": sizes}, indent=1, sort_keys=True) + "\n"
    files.write_whole(path / MARK, lambda part: part.write_text(text, encoding="utf-8"))


def unmark(folder: str | os.PathLike[str]) -> None:
    """Before a checkpoint is written again: it is not whole any more."""
    (Path(folder) / MARK).unlink(missing_ok=True)


def is_complete(folder: str | os.PathLike[str]) -> bool:
    """Whether every file that a checkpoint names is there in full."""
    path = Path(folder)
    try:
        sizes = json.loads((path / MARK).read_text(encoding="utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """All folders of checkpoints, whole or not, the oldest first."""
    found = [path for path in Path(folder).glob(f"{PREFIX}*") if step_of(path) >= 0 and path.is_dir()]
    return sorted(found, key=step_of)


def last_complete(folder: str | os.PathLike[str]) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint, and the newer ones that are not whole."""
    skipped: list[Path] = []
    for path in reversed(checkpoints(folder)):
        if is_complete(path):
            return path, skipped
        skipped.append(path)
    return None, skipped


def keep_last(folder: str | os.PathLike[str], count: int | None, protected: str | None = None) -> None:
    """Delete older checkpoints, so that ``count`` whole ones stay.

    Args:
        folder: of the run.
        count: None or 0 keeps all.
        protected: one that stays in any case.
    """
    whole = [path for path in checkpoints(folder) if is_complete(path)]
    if count and count > 0:
        for path in whole[:-count]:
            if protected is None or path != Path(protected):
                shutil.rmtree(path, ignore_errors=True)


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint's folder; -1 for another folder."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if number.isdecimal() else -1


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != MARK)
