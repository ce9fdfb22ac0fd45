"""The peak of a real run, as torch's profiler saw it: what an estimate of memory is held to.

It counts what torch's own allocator gave out on the CPU, kernels' temporary tensors included, and nothing
that a library takes for itself. This module knows no models.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes above those at the start, while ``run`` runs on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    live = accumulate((event.nbytes() for event in events), initial=0)
    return int(max(live))
