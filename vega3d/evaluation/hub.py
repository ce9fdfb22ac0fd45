"""``--data hub:<owner>/<name>``: a data set of the hub as the folder that a benchmark reads.

Decision: a data set's repository *is* a folder in its published layout, so its files are fetched by
huggingface_hub, which vega3d has anyway, and read as any local folder; pictures and rows are the same that
`datasets` gives (a test holds the two together). Nothing is downloaded without
`--download`: some of these repositories have many gigabytes, and a licence that a person has to accept.
Without it only what the hub's cache on this disk holds is used.

Clips that lie in the repository as zip files (VSI-Bench) are unpacked once, beside links to the other files.
Python's own unpacking keeps every file inside the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
import zlib
from functools import partial
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vega3d._utils.files import is_abandoned, part_of, writing
from vega3d.errors import InputError

PREFIX = "hub:"
DONE = ".unpacked"


def folder_of(data: str, *, download: bool = False) -> Path:
    """The folder behind ``--data``.

    Args:
        data: a folder, or ``hub:<owner>/<name>``, with ``@<revision>`` behind it where one is wanted.
        download: fetch what is not in the cache.

    Raises:
        InputError: the data set is not in the cache, or the hub does not give it.
    """
    if not data.startswith(PREFIX):
        return Path(data)
    name, _, revision = data.removeprefix(PREFIX).partition("@")
    options = {"repo_type": "dataset", "revision": revision or None, "local_files_only": not download}
    try:
        snapshot = snapshot_download(name, **options)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        expected = f"a data set of the hub{'' if download else ', in its cache on this disk'}"
        fix = f"read size and terms at huggingface.co/datasets/{name}, accept these, and pass --download"
        got = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:200]}"
        raise InputError(f"Missing data set {name!r}.", got=got, expected=expected, fix=fix) from None
    return unpacked(Path(snapshot), name)


def unpacked(snapshot: Path, name: str) -> Path:
    """The snapshot itself, or a folder beside the cache with its zip files unpacked.

    Raises:
        InputError: a zip file is damaged.
        WriteError: the disk is full.
    """
    zips = sorted(snapshot.glob("*.zip"))
    if not zips:
        return snapshot
    target = Path(constants.HF_HOME) / "vega3d" / name.replace("/", "--") / snapshot.name
    if (target / DONE).is_file():
        return target
    for left in target.parent.glob(f".{target.name}.*.part"):
        with contextlib.suppress(OSError):  # its process has just renamed it
            if is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
    part = part_of(target)
    try:
        with writing(target):
            part.mkdir(parents=True)
            _fill(part, snapshot, zips)
            (part / DONE).touch()
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _fill(folder: Path, snapshot: Path, zips: list[Path]) -> None:
    for file in zips:
        try:
            with zipfile.ZipFile(file) as opened:
                opened.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as problem:  # or a password
            fix = "delete it from the hub's cache and pass --download again"
            raise InputError(
                f"Cannot unpack {file.name}.", got=str(problem), expected="a whole zip file", fix=fix
            ) from None
    for entry in snapshot.iterdir():
        if entry not in zips and not (folder / entry.name).exists():
            source, target = entry.resolve(), folder / entry.name
            try:
                target.symlink_to(source, target_is_directory=source.is_dir())
            except (OSError, NotImplementedError):  # Windows, unless the user may make symbolic links
                copy = partial(shutil.copytree, copy_function=_hard_link) if source.is_dir() else _hard_link
                copy(source, target)


def _hard_link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except (OSError, AttributeError):  # another file system, or one without hard links
        shutil.copy2(source, target)
