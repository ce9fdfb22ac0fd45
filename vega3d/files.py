"""Reading and writing files so that nothing is lost and nothing that is read is run.

A file is written beside its place and renamed into it: a killed process leaves the old one or the new
one. What cannot be read is named, and a pickle is never read where safetensors is expected.

This module knows no formats of ours and no tensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from vega3d.errors import CheckpointError

_UMASK = os.umask(0)  # can only be read by setting it
os.umask(_UMASK)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def write_whole(file: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` with a path beside ``file``, then rename what it wrote into place.

    Raises:
        OSError: the folder cannot be written; an older ``file`` is then still whole.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        write(part)
        part.chmod(0o666 & ~_UMASK)  # safetensors lets nobody else read what it writes
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file


def read_json(file: Path, expected: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return record
    except FileNotFoundError:
        raise missing(file, expected) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged(file, error) from error


def missing(file: Path, expected: str, known: Collection[str] = ()) -> CheckpointError:
    """The error for a file that is not there; names pickles that lie in its place, except ``known`` ones."""
    pickles = sorted({found.name for pattern in PICKLES for found in file.parent.glob(pattern)} - {*known})
    if pickles and file.suffix == ".safetensors":
        return CheckpointError(
            f"{file.name} is missing; pickle files are not read, since they can run code.",
            got=", ".join(pickles),
            expected=file.name,
            fix="get the safetensors version, or convert it where you trust it: "
            "safetensors.torch.save_file(state_dict, path)",
        )
    return CheckpointError(
        f"{file.name} is missing.",
        got=f"no such file in {file.parent}",
        expected=expected,
        fix="check the path, or get the files again",
    )


def damaged(file: Path, error: Exception) -> CheckpointError:
    """The error for a file that is there and cannot be read."""
    return CheckpointError(
        f"{file} cannot be read.",
        got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
        expected="a whole file, as it was saved (a pickle under the name of safetensors is refused too)",
        fix="copy or download it again",
    )
