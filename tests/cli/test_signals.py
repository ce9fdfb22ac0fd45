"""A signal ends a command and every process that it started; the same command then resumes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import media
from vega3d._utils.progress import no_progress
from vega3d.cli.main import main

LIMIT = 60.0  # seconds: generous, for a machine under load
# The shell of a job in the background ignores SIGINT, and what it starts inherits that.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from vega3d.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
Started = tuple[subprocess.Popen[str], list[psutil.Process]]


def until(ready: Callable[[], bool]) -> bool:
    """Poll; False if it never came true."""
    end = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Started]]:
    """Starts `rooms make` with two workers; gives it and its children once a scene is written."""
    started: list[psutil.Process] = []

    def begin() -> Started:
        command = ["rooms", "make", "--scenes", "5000", "--size", "64", "--frames", "8"]
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *command, "--workers", "2", "--out", str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a group of its own, as a scheduler gives a job
        )
        assert until(lambda: bool(list(tmp_path.rglob("*.json"))))
        children = psutil.Process(process.pid).children(recursive=True)
        started.extend([psutil.Process(process.pid), *children])
        return process, children

    yield begin
    for process in started:
        if not gone(process):
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_command(start: Callable[[], Started], number: signal.Signals) -> None:
    process, children = start()
    assert len(children) >= 2
    process.send_signal(number)
    assert until(lambda: all(map(gone, children)))
    assert process.wait(LIMIT) == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]


def test_a_terminated_command_says_so_in_one_line(start: Callable[[], Started]) -> None:
    process, _ = start()
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    assert [line for line in errors.splitlines() if "[vega3d] room" not in line] == [
        "vega3d rooms: terminated"
    ]


def test_sigterm_to_the_whole_group_ends_it_in_the_same_way(start: Callable[[], Started]) -> None:
    process, children = start()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(LIMIT) == 143
    assert until(lambda: all(map(gone, children)))


def test_a_killed_worker_is_a_typed_error(start: Callable[[], Started]) -> None:
    process, children = start()
    workers = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    workers[0].kill()
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "vega3d rooms: Cannot finish: a worker process ended" in errors
    assert until(lambda: all(map(gone, children)))


def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: Callable[[], object]) -> int:
    """Exit code of a command that does nothing but ``action``."""

    def run(arguments: object) -> int:
        action()
        return 0

    monkeypatch.setattr("vega3d.cli.rooms.run_show", run)
    return main(["rooms", "show", "--out", str(tmp_path)])


def test_sigterm_in_a_command_is_code_143(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert ran(monkeypatch, tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert capsys.readouterr().err == "vega3d rooms: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_program_that_handles_sigterm_itself_keeps_its_handler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        assert ran(monkeypatch, tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_command_runs_in_another_thread_and_sets_no_handler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codes: list[int] = []
    handlers: list[object] = []

    def action() -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: codes.append(ran(monkeypatch, tmp_path, action)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert handlers == [signal.SIG_DFL]


def terminate_once(call: int = 1) -> Callable[..., None]:
    """A report of progress that ends the command when it is called the first time, or another."""
    calls: list[object] = []

    def report(*values: object) -> None:
        calls.append(values)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_rooms_go_on_after_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    scenes = ["--scenes", "3", "--size", "64", "--frames", "8"]
    command = ["rooms", "make", *scenes, "--workers", workers]
    with monkeypatch.context() as patch:
        patch.setattr("vega3d.cli.rooms.bar", lambda *_: contextlib.nullcontext(terminate_once()))
        assert main([*command, "--out", str(tmp_path / "ended")]) == 143
    assert not (tmp_path / "ended" / "test.jsonl").exists()
    for name in ("ended", "whole"):
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")


def test_a_store_goes_on_after_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        media.photo(48, 48, seed=number).save(tmp_path / f"{number}.png")
    files = [str(file) for file in sorted(tmp_path.glob("*.png"))]
    store = tmp_path / "store"
    command = ["cache", "build", str(store), "--backbone", "pico", "--set", "pixels=2304", "--device", "cpu"]
    with monkeypatch.context() as patch:
        shown = {"computing": terminate_once(2)}  # the first is before the first batch
        patch.setattr(
            "vega3d.cli._cache.bar", lambda text, _: contextlib.nullcontext(shown.get(text, no_progress))
        )
        assert main([*command, "--media", *files]) == 143
    assert not list(store.glob(".*"))
    capsys.readouterr()
    assert main([*command, "--media", *files]) == 0
    computed, held = map(int, re.findall(r"(\d+) (?:runs computed|were there)", capsys.readouterr().out))
    assert computed + held == 20
    assert held >= 4  # the batch before the signal is kept
    assert main(["cache", "verify", str(store)]) == 0


METEOR = """
import sys, time
from vega3d.evaluation.metrics.java import meteor
meteor([["a cat"]], ["a cat"])
print("answered", flush=True)
time.sleep(600)
"""
# Two programs: neither may hold the other one's pipe open. The program reads lines until there are no more.
TWO_PROGRAMS = """
import sys, time
from pathlib import Path
from vega3d.evaluation.metrics import java
java.java, java.SETTINGS = lambda: sys.executable, ("-c", "for line in open(0): print(line, flush=True)")
programs = [java.Conversation([], Path(".")) for _ in range(2)]
for program in programs:
    program.ask(["a cat"], 1, timeout=60)
print("answered", flush=True)
time.sleep(600)
"""
NEEDS_METEOR = pytest.mark.skipif(
    shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None,
    reason="METEOR needs Java and pycocoevalcap",
)


@pytest.mark.parametrize(
    ("code", "count"),
    [(TWO_PROGRAMS, 2), pytest.param(METEOR, 1, marks=[pytest.mark.full, NEEDS_METEOR])],
    ids=["any program", "METEOR"],
)
def test_the_java_programs_of_a_killed_evaluation_end(code: str, count: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "answered\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == count
    process.kill()
    process.wait()
    assert until(lambda: all(map(gone, children)))
    process.stdout.close()
