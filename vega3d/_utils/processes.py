"""Independent jobs in one process or in many, reported as they end.

Processes are fresh (``spawn``): they inherit no threads and no open files. The first error cancels what has
not begun and is raised. A worker ends at once when this process is interrupted or gone: its jobs write files
whole, so a job that is cut off is done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from vega3d.errors import Vega3DError

T = TypeVar("T")


def run_all(job: Callable[..., T], calls: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, T]]:
    """(number of the call, what it returned), in the order in which calls end.

    Args:
        job: a module-level function, so that a process can import it.
        calls: its arguments, call by call.
        workers: processes; 1 or fewer runs all calls here, in order.

    Raises:
        Vega3DError: a worker was killed.
    """
    if workers <= 1 or len(calls) <= 1:
        for number, call in enumerate(calls):
            yield number, job(*call)
        return
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        min(workers, len(calls)), mp_context=context, initializer=_end_with, initargs=(lifeline,)
    )
    try:
        numbers = {pool.submit(job, *call): number for number, call in enumerate(calls)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    except BrokenProcessPool as error:
        what, expected = "Cannot finish: a worker process ended early.", "workers that run until all is done"
        fix = "run the same command again, with fewer workers if memory was short"
        raise Vega3DError(what, got=str(error), expected=expected, fix=fix) from error
    except (KeyboardInterrupt, GeneratorExit):
        held.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        held.close()
        lifeline.close()


def _end_with(lifeline: Connection) -> None:
    """Run in a worker: end it when the other end of the pipe is closed.

    The system closes that end however the parent dies, on every platform. Ctrl-C in a terminal reaches every
    process; the parent alone decides what it means.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        lifeline.poll(None)  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
