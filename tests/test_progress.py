"""Long work shows one bar on a terminal, and a line a minute in a log."""

from __future__ import annotations

import io
import sys

import pytest

from vega3d._utils import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.bar("asking", "batch") as update:
        for done in range(1, 21):
            update(done, 20, False)
    assert terminal.getvalue().count("\n") == 1
    assert "asking" in terminal.getvalue()
    assert "20/20" in terminal.getvalue()


def test_a_log_has_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 10))  # every call ten seconds later
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.bar("asking", "batch") as update:
        for done in range(1, 20):
            update(done, 19, False)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "[vega3d] asking 1/19, about 3 min left",
        "[vega3d] asking 7/19, about 2 min left",
        "[vega3d] asking 13/19, about 60 s left",
        "[vega3d] asking 19/19",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (720, "12 min"), (11_100, "3 h 05 min")])
def test_the_time_that_is_left_is_readable(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
