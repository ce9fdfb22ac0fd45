"""Models by name: a folder as it is, or the wanted files of a repository on the hub.

This module knows no formats; whoever asks says which files are wanted and what was looked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vega3d.errors import Vega3DError


def find_folder(
    path: str | os.PathLike[str],
    revision: str | None,
    patterns: Sequence[str],
    *,
    error: type[Vega3DError],
    what: str,
    expected: str,
) -> Path:
    """A local folder as it is, or the wanted files of a hub repository.

    Args:
        path: folder or hub id.
        revision: of the repository.
        patterns: the files that are wanted of it.
        error: raised if neither is there; ``what`` and ``expected`` say what was looked for.
        what: for example ``Wan``.
        expected: for example ``a diffusers folder``.
    """
    if Path(path).is_dir():
        return Path(path)
    try:
        return Path(snapshot_download(str(path), revision=revision, allow_patterns=list(patterns)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise error(
            f"There is no {what} at {str(path)!r}.",
            got=f"no such folder, and the hub answered: {type(problem).__name__}",
            expected=expected,
            fix="check the spelling; offline, download it first and pass the folder",
        ) from problem
