"""Progress of long work, with the time that is left.

Work reports ``(done, total)``; ``bar`` shows that on standard error, and ``tracked`` counts what is iterated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with the units that are done and their total."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""
    del done, total


@contextlib.contextmanager
def bar(text: str, unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show a bar with the time that is left while the block runs.

    Args:
        text: name of the work.
        unit: name of one unit of it.
        quiet: show nothing.
    """
    from tqdm import tqdm

    with tqdm(desc=text, unit=unit, mininterval=1.0, smoothing=0.05, disable=quiet) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update


def tracked(items: Iterable[T], text: str, unit: str) -> Iterator[T]:
    """Items, with a bar on a terminal."""
    from tqdm import tqdm

    return iter(tqdm(items, desc=text, unit=unit, mininterval=1.0, disable=None))
