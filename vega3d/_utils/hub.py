"""Models by name: a folder as it is, or the wanted files of a repository on the hub; and the way back.

This module knows no formats; whoever asks says which files are wanted and what was looked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
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


def upload(
    repo: str,
    folder: Path,
    *,
    private: bool | None,
    token: str | None,
    stale: str | None = None,
    error: type[Vega3DError],
) -> str:
    """Upload a whole folder to the hub as one commit; returns the commit's address.

    Args:
        repo: hub id; made if it is not there.
        folder: what is uploaded.
        private: of a repository that is made.
        token: of the hub; None takes the one of ``hf auth login``.
        stale: pattern of files that are deleted in the repository if the folder does not have them.
        error: raised if the hub cannot be reached, or refuses.
    """
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Upload vega3d", delete_patterns=stale
        )
    except Exception as problem:  # the hub's client lets its network library's own errors through
        raise error(
            f"The checkpoint could not be pushed to {repo!r}.",
            got=f"{type(problem).__name__}: {problem}",
            expected="a hub that can be reached, and the right to write there",
            fix="check the network and `hf auth login`, or keep it with save_pretrained(folder)",
        ) from problem
    return str(commit.commit_url)
