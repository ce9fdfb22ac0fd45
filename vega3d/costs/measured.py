"""Peak memory of a real run, measured by torch's profiler for comparison with an estimate.

It counts the allocations of torch's own allocator on the CPU, temporary tensors of kernels included, and not
those that a library makes itself.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], Any]) -> int:
    """Measure the peak of ``run`` on the CPU, in bytes above those at the start."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    live = accumulate((event.nbytes() for event in events), initial=0)
    return int(max(live))
