"""Independent jobs in one process or in many, reported as they end.

Decision: fresh processes (`spawn`), which inherit no threads and no open files; the first error or an
interrupt cancels what has not begun and is raised. What a job does is nobody's business here.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

T = TypeVar("T")


def run_all(job: Callable[..., T], calls: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, T]]:
    """(number of the call, what it returned), in the order in which calls end.

    Args:
        job: a module-level function, so that a process can import it.
        calls: its arguments, call by call.
        workers: processes; 1 or fewer runs all calls here, in order.
    """
    if workers <= 1 or len(calls) <= 1:
        for number, call in enumerate(calls):
            yield number, job(*call)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(calls)), mp_context=context)
    try:
        numbers = {pool.submit(job, *call): number for number, call in enumerate(calls)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
