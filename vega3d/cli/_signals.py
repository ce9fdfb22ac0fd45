"""SIGTERM as an orderly end: an exception in the main thread, as Ctrl-C is one.

Decision: schedulers and containers send SIGTERM, then wait for some seconds before they kill. Files are
written whole and children end with their parent, so it is enough to unwind.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM  # as a shell reports a command that the signal has ended


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. What handles an interrupt handles this too."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise ``Terminated`` in the block when SIGTERM arrives; the handler before it comes back after it.

    Nothing changes outside the main thread, which alone may set handlers, nor where the program that called
    us has decided about SIGTERM itself.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated
