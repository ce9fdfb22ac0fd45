"""The clock that all benchmarks share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def seconds(run: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call: wall time, or CPU time of all threads with ``clock=time.process_time``."""
    start = clock()
    run()
    return clock() - start


def repeated(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each repeat, after one run that is not counted."""
    run()
    return [seconds(run) for _ in range(repeats)]


def pairs(
    first: Callable[[], object],
    second: Callable[[], object],
    count: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[tuple[float, float]]:
    """Times of both in turn: what else the machine does falls on both."""
    return [(seconds(first, clock=clock), seconds(second, clock=clock)) for _ in range(count)]


def medians(times: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Median of the first, of the second, and of the ratios first / second."""
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    return first, second, statistics.median(a / b for a, b in times)
