"""Progress of long work, with the time that is left.

Long work takes a ``Progress`` and calls it after each unit. ``bar`` shows it on standard error.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator

Progress = Callable[[int, int, bool], None]
"""Called with the units that are done, their total (0 if unknown), and True if the last were done before."""


def no_progress(done: int, total: int, skipped: bool) -> None:
    """Show nothing."""
    del done, total, skipped


def note(text: str, *, quiet: bool = False) -> None:
    """Print a line on standard error, above a bar if one is shown; standard output holds results only."""
    if not quiet:
        from tqdm import tqdm

        tqdm.write(f"[vega3d] {text}", file=sys.stderr)
        sys.stderr.flush()


@contextlib.contextmanager
def bar(text: str, unit: str) -> Iterator[Progress]:
    """Show progress while the block runs: a bar on a terminal, and a line a minute in a log.

    Args:
        text: name of the work.
        unit: name of one unit of it.
    """
    if not sys.stderr.isatty():
        yield lines(text)
        return
    from tqdm import tqdm

    with tqdm(desc=text, unit=unit, mininterval=1.0, smoothing=0.05) as shown:

        def update(done: int, total: int, skipped: bool) -> None:
            shown.total = total or None
            if skipped:  # not a part of the rate
                shown.n = shown.last_print_n = done
            shown.update(done - shown.n)

        yield update


def lines(text: str, seconds: float = 60.0) -> Progress:
    """Print a line at the first and at the last call, and at most one in ``seconds`` between them.

    The time that is left does not count units that had been done before.
    """
    start, made, last = time.monotonic(), 0, -math.inf

    def show(done: int, total: int, skipped: bool) -> None:
        nonlocal made, last
        made += not skipped
        now = time.monotonic()
        if done != total and now - last < seconds:
            return
        last = now
        left = (now - start) / max(made, 1) * (total - done)
        note(f"{text} {done}/{total or '?'}" + (f", about {duration(left)} left" if done < total else ""))

    return show


def duration(seconds: float) -> str:
    """A time in words: ``40 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
