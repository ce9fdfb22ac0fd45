"""Read and write files so that no data is lost and no code in them is run.

A file is written beside its place, synchronised to disk and renamed into it: a killed process, or a power
cut, leaves the old one or the new one. An error names the file. A pickle is never read where safetensors is
expected. A path that a data set names stays inside the data set's folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError

from vega3d.errors import CheckpointError, InputError, Vega3DError, WriteError

_UMASK = os.umask(0)  # can only be read by setting it
os.umask(_UMASK)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)  # the file system has none
# torch's zip writer raises a RuntimeError without an errno when the disk is full; its texts name these.
_TORCH_WRITER = ("inline_container", "PytorchStreamWriter", "unexpected pos", "iostream error")
ABANDONED = 24 * 3600.0  # seconds after which a part of a process that cannot be looked up has no writer
_PART = re.compile(r"\..+\.(?P<pid>\d+)(?:-(?P<machine>[0-9a-f]{8})[0-9a-f]{8})?\.part")


def write_whole(
    file: Path,
    write: Callable[[Path], object],
    *,
    error: type[Vega3DError] = WriteError,
    move: Callable[[Path, Path], object] | None = None,
) -> Path:
    """Call ``write`` with a path beside ``file``, then rename the written file into place.

    The bytes are on disk before the name is, and the name before this returns (fsync of file and folder).

    Args:
        file: the final path.
        write: writes the file at the path that it is given.
        error: class of the error that is raised.
        move: gives the written file its final name; None replaces an older file.

    Raises:
        Vega3DError: of class ``error``; the folder cannot be written; an older ``file`` is then still whole.
    """
    part = part_of(file)
    try:
        with writing(file, error=error):
            write(part)
            part.chmod(0o666 & ~_UMASK)  # safetensors makes its files readable for their owner only
            sync(part)
            (move or os.replace)(part, file)
            sync(file.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return file


def write_first(
    file: Path, write: Callable[[Path], object], *, error: type[Vega3DError] = WriteError
) -> None:
    """Write ``file`` as ``write_whole`` does, unless it is there; of several writers the first one wins."""
    if not file.exists():
        write_whole(file, write, error=error, move=_link)


def _link(part: Path, file: Path) -> None:
    """Give ``part`` the name ``file`` unless another file has it."""
    try:
        os.link(part, file)
    except FileExistsError:
        pass
    except (OSError, AttributeError):  # a file system, or a system, without hard links
        if not file.exists():
            os.replace(part, file)


def make_folder(folder: Path, *, error: type[Vega3DError] = WriteError) -> Path:
    """Make a folder, and those above it, unless it is there."""
    with writing(folder, error=error):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def part_of(file: Path) -> Path:
    """A hidden unique name beside ``file``; ``sweep_parts`` removes a file that is left under it."""
    # A process id alone is not unique: two containers that share a folder both have a process 7.
    return file.with_name(f".{file.name}.{os.getpid()}-{machine()}{uuid.uuid4().hex[:8]}.part")


def sweep_parts(folder: Path, *, older: float = ABANDONED) -> int:
    """Remove the half-written files of ended writers from a folder.

    A part is removed if its process ran on this machine and has ended, or if it is old.

    Args:
        folder: folder whose own files are checked, without subfolders; may be missing.
        older: age in seconds at which a part goes whose writer cannot be looked up, or still runs.
    """
    removed = 0
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):  # another one swept it, its writer renamed it, or it is no file
            if is_abandoned(part, older=older):
                part.unlink()
                removed += 1
    return removed


def is_abandoned(part: Path, *, older: float = ABANDONED) -> bool:
    """True if a part's process ran on this machine and has ended, or if the part is older than ``older`` s.

    Raises:
        OSError: the part is gone.
    """
    import psutil  # type: ignore[import-untyped]

    named = _PART.fullmatch(part.name)
    if named is not None and named["machine"] == machine() and not psutil.pid_exists(int(named["pid"])):
        return True
    return part.stat().st_mtime < time.time() - older


@cache
def machine() -> str:
    """Eight hexadecimal digits that are equal where process ids have one meaning: one boot, one container."""
    marks = [platform.node()]
    with contextlib.suppress(OSError):  # Linux only
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        marks.append(os.readlink("/proc/self/ns/pid"))
    return xxhash.xxh32_hexdigest("\n".join(marks).encode())


@contextlib.contextmanager
def writing(path: Path, *, error: type[Vega3DError] = WriteError) -> Iterator[None]:
    """Turn a failed write inside the block into one typed error.

    Raises:
        Vega3DError: of class ``error``; the disk is full, a quota is used up, or the permission is missing.
    """
    try:
        yield
    except Vega3DError as problem:
        if type(problem) is not WriteError or error is WriteError:
            raise
        raise error(problem.what, got=problem.got, expected=problem.expected, fix=problem.fix) from problem
    except (OSError, SafetensorError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and not any(text in str(problem) for text in _TORCH_WRITER):
            raise
        expected = "a folder that can be written, on a disk with room"
        fix = "free space or choose another folder, then run the same command again"
        raise error(f"Cannot write {path}.", got=_cause(problem), expected=expected, fix=fix) from problem


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on disk.

    A file system without fsync (some network mounts; folders on Windows) is left as it is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def digest(file: Path) -> str:
    """xxh3 (64 bits, hexadecimal) of a file's bytes, read in chunks."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, xxhash.xxh3_64).hexdigest()


def content_digest(values: Mapping[str, Any]) -> str:
    """xxh3 (64 bits, hexadecimal) of a JSON object's values, whatever its spaces and order of keys."""
    return xxhash.xxh3_64_hexdigest(json.dumps(values, sort_keys=True).encode())


def read_json(file: Path, expected: str) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return record
    except FileNotFoundError:
        raise missing(file, expected) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged(file, error) from error


def missing(file: Path, expected: str, known: Collection[str] = ()) -> CheckpointError:
    """The error for a missing file; names pickles beside it, except ``known`` ones."""
    pickles = sorted({pickle.name for pattern in PICKLES for pickle in file.parent.glob(pattern)} - {*known})
    if pickles and file.suffix == ".safetensors":
        what = f"Missing {file.name}: pickle files are not read, since they can run code."
        fix = "get its safetensors version, or convert it where you trust it: safetensors.torch.save_file"
        return CheckpointError(what, got=", ".join(pickles), expected=file.name, fix=fix)
    got, fix = f"no such file in {file.parent}", "check the path, or get the files again"
    return CheckpointError(f"Missing {file.name}.", got=got, expected=expected, fix=fix)


def damaged(file: Path, error: Exception) -> CheckpointError:
    """The error for an existing file that cannot be read."""
    expected = "a whole file, as it was saved (a pickle under the name of safetensors is refused too)"
    fix = "copy or download it again"
    return CheckpointError(f"Cannot read {file}.", got=_cause(error), expected=expected, fix=fix)


def inside(
    root: Path,
    name: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    fix: str = "correct the record",
    error: type[Vega3DError] = InputError,
) -> Path:
    """Path that a record of a data set names, checked to be below the data set's folder.

    ``root`` itself may be a link, and so may a folder directly below it: users keep media on another disk
    that way. A link further down may come with the data set, so it may not lead out. The hub's cache links
    each file of a snapshot to a blob beside it; these links are followed.

    Args:
        root: folder that the record may name files of.
        name: as the record gives it: relative to ``root``, or absolute and below it. It need not exist.
        follow_links: follow links that lead out of the folder.
        fix: advice of the error.
        error: class of the error.

    Returns:
        ``root`` joined with the name, without ``..`` in the name.

    Raises:
        Vega3DError: of class ``error``; the name leads out of the folder, or no file can have it.
    """
    got = ""
    try:
        relative = _relative(root, os.fspath(name))
        target = _target_outside(root, relative)
        if relative.parts[:1] == ("..",):
            got = "it leads out of the folder"
        elif target is not None and not follow_links:
            got = f"a link leads to {target}"
    except ValueError as problem:  # a null byte, or a character that file names cannot hold
        got = str(problem)
    if got:
        what, expected = f"Invalid path in a data set: {os.fspath(name)!r}.", f"a path below {root}"
        raise error(what, got=got, expected=expected, fix=fix)
    return root / relative


def _relative(root: Path, name: str) -> Path:
    """``name`` from ``root``, normalised; begins with ``..`` where it leads out."""
    if not os.path.isabs(name):
        return Path(os.path.normpath(name))
    bases = (os.path.abspath(root), os.path.realpath(root))
    ways = [Path(os.path.relpath(name, base)) for base in bases]
    return next((way for way in ways if way.parts[:1] != ("..",)), ways[0])


def _target_outside(root: Path, relative: Path) -> str | None:
    """Target of a path whose links lead out of the folder; None where they do not."""
    target = Path(os.path.realpath(root / relative))
    top = root / relative.parts[0] if len(relative.parts) > 1 else root
    is_blob = target.parent.name == "blobs" and (target.parent.parent / "snapshots").is_dir()
    below = any(target.is_relative_to(os.path.realpath(folder)) for folder in (root, top))
    return None if below or is_blob else str(target)
