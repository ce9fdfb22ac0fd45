"""Progress of long work, with the time that is left.

Long work takes a ``Progress`` and calls it after each unit. ``bar`` and ``lines`` show it on standard error.
"""

from __future__ import annotations

import contextlib
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


def lines(text: str) -> Progress:
    """Print a line at each call. The time that is left does not count on units that had been done before."""
    start, made = time.monotonic(), 0

    def show(done: int, total: int, skipped: bool) -> None:
        nonlocal made
        made += not skipped
        left = (time.monotonic() - start) / max(made, 1) * (total - done)
        note(f"{text} {done}/{total}, about {left:.0f} s left")

    return show


@contextlib.contextmanager
def bar(text: str, unit: str) -> Iterator[Progress]:
    """Show a bar while the block runs.

    Args:
        text: name of the work.
        unit: name of one unit of it.
    """
    from tqdm import tqdm

    with tqdm(desc=text, unit=unit, mininterval=1.0, smoothing=0.05) as shown:

        def update(done: int, total: int, skipped: bool) -> None:
            shown.total = total or None
            if skipped:  # not a part of the rate
                shown.n = shown.last_print_n = done
            shown.update(done - shown.n)

        yield update
