"""One process works in a folder; the lock is gone with its process, whatever killed it."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import types
from pathlib import Path
from typing import Any

import pytest

from vega3d._utils import locks
from vega3d._utils.locks import locked
from vega3d.errors import ConfigError, WriteError

FORK = multiprocessing.get_context("fork")


def test_a_folder_is_locked_once_and_free_again(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on "), locked(tmp_path / "new"):
            pytest.fail("locked twice")
        with locked(tmp_path / "another"):
            pass
    with locked(tmp_path / "new"):
        pass


def test_an_error_inside_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def hold(folder: Path, held: Any) -> None:
    """Lock a folder, leave a child of its own behind, and wait."""
    with locked(folder):
        if os.fork() == 0:
            signal.alarm(60)
            signal.pause()
        held.set()
        signal.pause()


def test_a_killed_process_frees_the_folder_though_its_child_lives(tmp_path: Path) -> None:
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(ConfigError, match=f"process {process.pid} on "), locked(tmp_path):
        pytest.fail("locked twice")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError), locked(tmp_path / "file" / "folder"):
        pass


def test_windows_locks_by_its_own_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1000  # beyond the text, which stays readable
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    fake = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setattr(locks, "_fcntl", None)
    monkeypatch.setattr(locks, "_msvcrt", fake)
    with locked(tmp_path), pytest.raises(ConfigError, match="in use"), locked(tmp_path):
        pytest.fail("locked twice")
    with locked(tmp_path):
        pass


def test_a_system_without_locks_is_named_and_does_not_stop_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_fcntl", None)
    monkeypatch.setattr(locks, "_msvcrt", None)
    with pytest.warns(UserWarning, match="cannot be locked"), locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_named_and_does_not_stop_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, mode: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "_fcntl", types.SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4, LOCK_UN=8))
    with pytest.warns(UserWarning, match=r"cannot be locked.*not supported"), locked(tmp_path):
        pass
