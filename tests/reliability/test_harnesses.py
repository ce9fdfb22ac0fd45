"""Killed, flipped, full, crowded: no work is lost, and nothing is wrong without a word."""

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
    line = [sys.executable, "-m", "tests.reliability", *words]
    report = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert report.returncode == 0, report.stdout + report.stderr[-2000:]


@pytest.mark.exact
def test_what_is_killed_and_repeated_has_the_same_bits_with_any_number_of_threads() -> None:
    harness("kills", "--count", "1", "--command", "build", "--command", "train", "--command", "eval")


@pytest.mark.parametrize("command", ["build", "train", "eval", "rooms"])
def test_25_kills_lose_nothing(command: str) -> None:
    harness("kills", "--count", "25", "--command", command)


@pytest.mark.parametrize("place", ["store", "checkpoint", "resume", "journal", "result"])
def test_a_flipped_bit_is_detected_or_changes_nothing(place: str) -> None:
    harness("flips", "--place", place)


@pytest.mark.parametrize("command", ["build", "train", "eval", "rooms"])
def test_a_full_disk_is_a_typed_error_and_loses_nothing(command: str) -> None:
    harness("full_disk", "--command", command)


@pytest.mark.parametrize("case", ["builds", "evals", "trains", "stores"])
def test_several_processes_in_one_folder_end_whole_or_are_refused(case: str) -> None:
    harness("concurrency", "--case", case)
