"""Whole checkpoints and half-written ones.

A checkpoint is whole when the last file that is written names all others: ``complete.json``, with the size
and the xxh3 of each. A process that is killed at any moment leaves a folder without it, or none. Nothing is
deleted before the newer one is whole.

Reading tens of gigabytes takes a while, so checksums are compared once, before a run is resumed; while a run
goes on, sizes decide. Marks of version 0.1 have sizes alone.

This module does not depend on models and optimizers.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path

from vega3d._utils import files
from vega3d.errors import CheckpointError

MARK = "complete.json"
PREFIX = "checkpoint-"
TORCH = (".pt", ".pth", ".bin")  # torch.save writes zip files


def mark_complete(folder: str | os.PathLike[str]) -> None:
    """Record that every file of a checkpoint is on disk, with its size and checksum."""
    path = Path(folder)
    with files.writing(path / MARK):
        inside = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MARK)
        written = {file.relative_to(path).as_posix(): file for file in inside}
        record = {
            "files": {name: file.stat().st_size for name, file in written.items()},
            "xxh3": {name: files.digest(file) for name, file in written.items()},
        }
        for file in written.values():
            with files.writing(file):  # torch 2.9 and older leave a cut file without an error
                if file.suffix in TORCH and not zipfile.is_zipfile(file):
                    raise OSError(f"the end of its {file.stat().st_size:,} bytes is missing")
        for place in (*written.values(), *{file.parent for file in written.values()}):
            files.sync(place)  # the mark must not outlive what it names
        text = json.dumps(record, indent=1, sort_keys=True) + "\n"
        files.write_whole(path / MARK, lambda part: part.write_text(text, encoding="utf-8"))


def unmark(folder: str | os.PathLike[str]) -> None:
    """Before a checkpoint is written again: it is not whole any more."""
    (Path(folder) / MARK).unlink(missing_ok=True)


def is_marked(folder: str | os.PathLike[str]) -> bool:
    """True if a checkpoint was once written to its end."""
    return (Path(folder) / MARK).exists()


def is_complete(folder: str | os.PathLike[str]) -> bool:
    """True if every file that a checkpoint names is there in full; reads none of them."""
    return damage(folder, with_checksums=False) is None


def damage(folder: str | os.PathLike[str], *, with_checksums: bool = True) -> str | None:
    """Reason why a checkpoint is not whole; None if it is. Reads every byte of it, for the checksums."""
    path = Path(folder)
    if not is_marked(path):
        return f"it has no {MARK}: the run was stopped while it was written"
    try:
        record = json.loads((path / MARK).read_text(encoding="utf-8"))
        sizes, sums = record["files"], record.get("xxh3", {})
        if wrong := [name for name, size in sizes.items() if _size(path / name) != size]:
            return f"{wrong[0]} has not the size that {MARK} names"
        if sums and sums.keys() != sizes.keys():
            return f"{MARK} is damaged: its sizes and checksums name different files"
        if with_checksums:
            wrong = [name for name, checksum in sums.items() if files.digest(path / name) != checksum]
        return f"{wrong[0]} differs from its checksum in {MARK}" if wrong else None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return f"{MARK} or a file that it names cannot be read ({type(error).__name__})"


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """All folders of checkpoints, whole or not, the oldest first."""
    folders = [path for path in Path(folder).glob(f"{PREFIX}*") if step_of(path) >= 0 and path.is_dir()]
    return sorted(folders, key=step_of)


def last_complete(folder: str | os.PathLike[str]) -> tuple[Path | None, dict[Path, str]]:
    """The newest whole checkpoint, and the newer ones that are not whole, each with the reason."""
    skipped: dict[Path, str] = {}
    for path in reversed(checkpoints(folder)):
        reason = damage(path)
        if reason is None:
            return path, skipped
        skipped[path] = reason
    return None, skipped


def checkpoint_to_resume(folder: str | os.PathLike[str]) -> Path | None:
    """The newest whole checkpoint, with a warning for each newer one; None where none was ever finished.

    Raises:
        CheckpointError: there were finished checkpoints, and all of them are damaged. To train from the first
            step instead would delete them.
    """
    newest, skipped = last_complete(folder)
    damaged = {path: reason for path, reason in skipped.items() if is_marked(path)}
    if newest is None and damaged:
        raise CheckpointError(
            f"Cannot resume from {folder}: every finished checkpoint is damaged.",
            got="; ".join(f"{path.name}: {reason}" for path, reason in damaged.items()),
            expected="a checkpoint whose files are as they were written",
            fix="restore the file; to start anew, delete these checkpoints or choose another output_dir",
        )
    for path, reason in skipped.items():
        warnings.warn(f"{path} is skipped: {reason}.", stacklevel=2)
    return newest


def keep_last(
    folder: str | os.PathLike[str],
    count: int | None,
    protected: str | None = None,
    *,
    newest: str | os.PathLike[str] | None = None,
) -> None:
    """Delete older checkpoints, so that ``count`` whole ones stay.

    Args:
        folder: of the run.
        count: None or 0 keeps all.
        protected: one that stays in any case.
        newest: the one that was written last. A checkpoint of a later step was skipped as damaged; it does
            not count, and stays until it is written again.
    """
    last = None if newest is None else step_of(Path(newest))
    whole = [path for path in checkpoints(folder) if is_complete(path)]
    counted = [path for path in whole if last is None or step_of(path) <= last]
    if count and count > 0:
        for path in counted[:-count]:
            if protected is None or path != Path(protected):
                shutil.rmtree(path, ignore_errors=True)


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint's folder; -1 for another folder."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if number.isdecimal() else -1
