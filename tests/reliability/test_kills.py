"""Killed at random moments, the commands that work for long end in what an uninterrupted run ends in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(sys.platform != "linux", reason="processes that are left over are found in /proc"),
]
ROOT = Path(__file__).parents[2]


def harness(*words: str) -> None:
    """Run it in a process that has no threads yet, so that it can fork."""
    line = [sys.executable, "-m", "tests.reliability.kills", *words]
    report = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert report.returncode == 0, report.stdout + report.stderr[-2000:]


@pytest.mark.exact
def test_what_is_killed_and_repeated_has_the_same_bits_with_any_number_of_threads() -> None:
    harness("--count", "1", "--command", "build", "--command", "train", "--command", "eval")


@pytest.mark.parametrize("command", ["build", "train", "eval", "rooms"])
def test_25_kills_lose_nothing(command: str) -> None:
    harness("--count", "25", "--command", command)
