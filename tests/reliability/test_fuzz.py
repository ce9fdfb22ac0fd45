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
