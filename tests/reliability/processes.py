"""The command line in a copy of this process, so that a kill falls into real work and not into an import.

A child is forked after everything is imported that an uninterrupted run imports. This process itself
computes in one thread, so no pool of threads is copied half. Linux only: what a command leaves running is
found by its session.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vega3d.cli.main import main
from vega3d.errors import Vega3DError

LONGEST = 600.0  # seconds of one command
ORPHANS = 20.0  # seconds that a worker has to notice that its parent is gone

THREADS = int(os.environ.get("VEGA3D_TEST_THREADS", "1"))  # of each child
torch.set_num_threads(1)  # of this process: a pool of threads would not survive a fork


class Process:
    """One command.

    Args:
        line: its words, without ``vega3d``; or a function of the exit code, to be called instead.
        before: called in the child, for limits.
        modules: file to which the child writes the names of all that it has imported.
    """

    def __init__(
        self,
        line: Sequence[str] | Callable[[], int],
        before: Callable[[], None] | None = None,
        modules: Path | None = None,
    ) -> None:
        self._pipe, writing = os.pipe()
        self._output = b""
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _child(line if callable(line) else lambda: main(list(line)), writing, before, modules)
        os.close(writing)
        os.set_blocking(self._pipe, False)

    def wait(self, seconds: float = LONGEST) -> int | None:
        """Wait so long at most; the exit code, negative for a signal, or None while it runs."""
        end = time.monotonic() + seconds
        while self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= end:
                return None
            else:
                select.select([self._pipe], [], [], 0.005)
            self._read()
        return self.code

    def kill(self) -> bool:
        """SIGKILL to the command alone; whether it was still at work."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def orphans(self) -> int:
        """Number of processes that it has left running; they are ended."""
        end = time.monotonic() + ORPHANS
        while (left := _session(self.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(left)

    @property
    def output(self) -> str:
        """Of both streams, as far as it has come."""
        return self._output.decode(errors="replace")

    def close(self) -> None:
        """Let go of its output."""
        os.close(self._pipe)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._pipe, 1 << 16):
                self._output += piece


def finished(
    line: Sequence[str] | Callable[[], int], before: Callable[[], None] | None = None
) -> tuple[int | None, str]:
    """Run a command to its end; its exit code (None after 600 s) and its output."""
    process = Process(line, before)
    if process.wait() is None:
        process.kill()
        process.code = None
    process.orphans()
    process.close()
    return process.code, process.output


def warmed(line: Sequence[str], folder: Path) -> float:
    """Run a command to its end, import here what it imported there, and run it again into a fresh folder.

    Args:
        line: the words; ``{out}`` stands for the folder of the run.
        folder: for both runs, ``cold`` and ``whole``.

    Returns:
        Seconds of the second run.

    Raises:
        RuntimeError: the command does not work.
    """
    names = folder / "modules.txt"
    cold = Process([word.format(out=folder / "cold") for word in line], modules=names)
    if cold.wait() != 0:
        raise RuntimeError(f"{line} ended with {cold.code}:\n{cold.output}")
    cold.close()
    for name in names.read_text(encoding="utf-8").split():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    start = time.monotonic()
    code, output = finished([word.format(out=folder / "whole") for word in line])
    if code != 0:
        raise RuntimeError(f"{line} ended with {code}:\n{output}")
    return time.monotonic() - start


def call(function: Callable[[], None]) -> tuple[int | None, str]:
    """Call a function in a copy of this process; exit code and output as of a command."""

    def guarded() -> int:
        try:
            function()
        except Vega3DError as error:
            print(error)
            return 1
        return 0

    return finished(guarded)


def last(output: str, length: int = 300) -> str:
    """The end of an output, on one line."""
    return " ".join(output.split())[-length:]


def _child(
    function: Callable[[], int],
    output: int,
    before: Callable[[], None] | None,
    modules: Path | None,
) -> None:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(THREADS)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if before is not None:
            before()
        code = function()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        if modules is not None:
            modules.write_text("\n".join(sorted(sys.modules)), encoding="utf-8")
        os._exit(code)


def _session(leader: int) -> list[int]:
    """Living processes of a session, without its leader."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX" and int(folder.name) != leader:
                found.append(int(folder.name))
    return found
