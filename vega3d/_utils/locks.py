"""One process at a time in a folder that it writes.

The lock belongs to an open file (``flock``, on Windows ``msvcrt.locking``), so the operating system releases
it when the process ends, however it ends; nothing has to be cleaned up. The file itself stays: to delete it
would let two processes lock two files of one name. Its text, the process that locked it last, is for messages
only.

Where neither call exists, or the file system supports none, a warning takes the lock's place.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from vega3d._utils import files
from vega3d.errors import ConfigError

LOCK = ".lock"
BEYOND = 1 << 30  # Windows locks bytes, not files; these are beyond the text, which stays readable
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # another holder has it
_held: set[int] = set()


_fcntl, _msvcrt = (
    importlib.import_module(name) if importlib.util.find_spec(name) else None for name in ("fcntl", "msvcrt")
)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs.

    Raises:
        ConfigError: another process, or this one, is inside.
        WriteError: the folder cannot be written.
    """
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(descriptor)
    try:
        _take(descriptor, folder)
        yield
    finally:
        if descriptor in _held:  # a forked child has closed its copy already
            _held.discard(descriptor)
            os.close(descriptor)  # this releases the lock


def _take(descriptor: int, folder: Path) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _HELD:
            os.lseek(descriptor, 0, os.SEEK_SET)
            owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            what, fix = f"Cannot lock {folder}: it is in use.", "stop that process, or choose another folder"
            expected = "one process in a folder"
            raise ConfigError(what, got=f"locked by {owner}", expected=expected, fix=fix) from None
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror or error}): nothing refuses a second process there.",
            stacklevel=4,
        )
        return
    with contextlib.suppress(OSError):  # the text is for messages only
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _lock(descriptor: int) -> None:
    """Take the lock, or raise OSError at once."""
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    elif _msvcrt is not None:
        os.lseek(descriptor, BEYOND, os.SEEK_SET)
        _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
    else:
        raise OSError(errno.ENOSYS, "this system has no file locks")


def _close_copies() -> None:
    """In a forked child: a worker that outlives its parent must not keep the lock."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
