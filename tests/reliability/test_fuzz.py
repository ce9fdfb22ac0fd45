"""Nothing that is read ends in a traceback, takes more than 20 s, or more than 2 GB."""

from __future__ import annotations

import sys

import pytest

from tests.reliability import fuzz

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_forty_damaged_files_and_messages_are_accepted_or_typed_errors() -> None:
    assert not fuzz.main(40, seed=1)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_two_thousand_damaged_files_and_messages_are_accepted_or_typed_errors() -> None:
    assert not fuzz.main(2000, seed=0)


def test_a_failure_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter(("typed", "ValueError: x", "accepted", "over 20 s"))
    monkeypatch.setattr(fuzz.Worker, "run", lambda self, kind, number: next(outcomes))
    assert [line.split(": ", 1)[1] for line in fuzz.main(4, seed=0)] == ["ValueError: x", "over 20 s"]


@pytest.mark.full
def test_what_hangs_or_fills_the_memory_is_seen_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = fuzz.Worker(0)
    try:
        assert worker.run("bomb", 0).endswith("GB (typed)")
        monkeypatch.setattr(fuzz, "SECONDS", 3)
        assert worker.run("hang", 0) == "over 3 s"
        monkeypatch.undo()
        assert worker.run("yaml", 0) in ("typed", "accepted")
    finally:
        worker.close()
