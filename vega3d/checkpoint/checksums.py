"""Checksums of a checkpoint: one for each file that belongs to it, and one for the settings themselves.

``vega3d_config.json`` names its files under ``files``. Its own content, independent of spaces and the order
of keys, is summed under ``checksum``. Removing that key is the way to edit the file by hand: it then loads
with a warning, and the next save writes a new one. This module does not depend on the format of any file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vega3d._utils import files
from vega3d.errors import CheckpointError

CHECKSUM, FILES = "checksum", "files"


def sealed(record: Mapping[str, Any], folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Settings with the checksums of files and their own.

    Args:
        record: JSON types only.
        folder: of the checkpoint.
        names: of files that belong to it, relative to ``folder``, with ``/``; they are on disk already.
    """
    with_files = {**record, FILES: {name: files.digest(folder / name) for name in sorted(names)}}
    return {**with_files, CHECKSUM: checksum(with_files)}


def checksum(record: Mapping[str, Any]) -> str:
    """Digest of the content of settings, without the key ``checksum``."""
    return files.content_digest({name: value for name, value in record.items() if name != CHECKSUM})


def require_settings(record: Mapping[str, Any], file: Path) -> None:
    """Refuse settings that are not as they were saved; warn if they have no checksum.

    Raises:
        CheckpointError: the content and its checksum differ.
    """
    if CHECKSUM not in record:
        warnings.warn(
            f"{file} has no checksum, so damage to it is not detected. Saving the checkpoint writes one.",
            stacklevel=4,
        )
    elif record[CHECKSUM] != checksum(record):
        raise CheckpointError(
            f"Invalid settings {file}: their checksum differs.",
            got=f"a content of sum {checksum(record)}",
            expected=f"sum {record[CHECKSUM]}, as it was saved",
            fix=f'if you edited it, remove the key "{CHECKSUM}" from it and load again; '
            "otherwise it is damaged: get the file again",
        )


def require_files(folder: Path, sums: Mapping[str, str], prefix: str = "") -> None:
    """Refuse files that are not as they were saved.

    Args:
        folder: of the checkpoint.
        sums: the section ``files`` of its settings.
        prefix: only files whose name starts with it are read.

    Raises:
        CheckpointError: a file is missing, or it and its checksum differ.
    """
    for name, expected in sums.items():
        if name.startswith(prefix):
            _require_file(folder / name, name, expected)


def _require_file(file: Path, name: str, expected: str) -> None:
    try:
        digest = files.digest(file)
    except FileNotFoundError:
        raise files.missing(file, f"{name}, which belongs to the checkpoint") from None
    except OSError as error:
        raise files.damaged(file, error) from error
    if digest != expected:
        raise CheckpointError(
            f"Invalid file {file}: its checksum differs.",
            got=f"a file of sum {digest}",
            expected=f"sum {expected}, as it was saved",
            fix=f'get the file again; if you changed it on purpose, remove it from "{FILES}" in the '
            f'settings beside it, and remove the key "{CHECKSUM}" there',
        )
