"""Find models by name, in a folder or on the hub, and upload folders."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from vega3d.errors import Vega3DError

PATIENCE = 3.0  # seconds to wait for a connection to the hub


def is_offline() -> bool:
    """True if the hub cannot be reached: offline mode, or no connection within a few seconds.

    The hub's own client tries a request for more than 20 seconds before it gives up.
    """
    if constants.is_offline_mode():
        return True
    endpoint = urlsplit(constants.ENDPOINT)
    if {endpoint.scheme, "all"} & set(getproxies()):
        return False  # the proxy connects
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((str(endpoint.hostname), port), PATIENCE).close()
    except OSError:
        return True
    return False


def require_repository(
    path: str | os.PathLike[str], *, error: type[Vega3DError], what: str, expected: str
) -> None:
    """Refuse a name that is neither a folder nor a repository of the hub; offline, of its cache.

    Args:
        path: folder or hub id.
        error: raised if it is neither.
        what: kind of model for the error, for example ``model``.
        expected: names that would be accepted, for the error.
    """
    if Path(path).is_dir():
        return
    is_unreachable = is_offline()
    try:
        if is_unreachable:
            snapshot_download(str(path), local_files_only=True)
        else:
            HfApi().repo_info(str(path))
    except (HFValidationError, RepositoryNotFoundError, LocalEntryNotFoundError) as problem:
        got = "no such folder, and no such repository on the hub"
        if is_unreachable and not isinstance(problem, HFValidationError):
            got = "no such folder, no such repository in the hub's cache, and the hub cannot be reached"
        fix = "check the spelling; offline, download it first and pass the folder"
        raise error(f"Unknown {what} {str(path)!r}.", got=got, expected=expected, fix=fix) from problem
    except HfHubHTTPError:  # the hub has a problem of its own: loading says which
        return


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
        revision: revision of the repository; None takes its main branch.
        patterns: patterns of the files to download.
        error: class of the error if neither exists.
        what: kind of model for the error, for example ``Wan``.
        expected: expected layout for the error, for example ``a diffusers folder``.
    """
    if Path(path).is_dir():
        return Path(path)
    try:
        options = {"allow_patterns": list(patterns), "local_files_only": is_offline()}
        return Path(snapshot_download(str(path), revision=revision, **options))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        got = f"no such folder, and the hub answered: {type(problem).__name__}"
        fix = "check the spelling; offline, download it first and pass the folder"
        raise error(f"Missing {what} at {str(path)!r}.", got=got, expected=expected, fix=fix) from problem


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
        repo: hub id; created if missing.
        folder: folder to upload.
        private: True makes a created repository private; None takes the hub's default.
        token: token of the hub; None takes the one of ``hf auth login``.
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
        got, expected = f"{type(problem).__name__}: {problem}", "a hub that can be reached and written to"
        fix = "check the network and `hf auth login`, or keep it with save_pretrained(folder)"
        raise error(f"Cannot push to {repo!r}.", got=got, expected=expected, fix=fix) from problem
    return str(commit.commit_url)
