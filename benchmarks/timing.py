"""The clock that all benchmarks share."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(run: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call: wall time, or CPU time of all threads with ``clock=time.process_time``."""
    start = clock()
    run()
    return clock() - start


def repeated(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each repeat, after one run that is not counted."""
    run()
    return [seconds(run) for _ in range(repeats)]
