"""Cost of a store before anything is computed: bytes, operations, hours.

Counts follow from configurations, without weights. Hours follow from a rate: a matrix product is timed on the
device, and the generator is assumed to reach half of its rate (docs/benchmarks.md has measured shares).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from vega3d.backbones.base import BackboneCost, clip_cost
from vega3d.cache.jobs import EncodeJob
from vega3d.store import FeatureFormat

SHARE = 0.5  # of a matrix product's rate
SIDE = 2048  # of the matrices that are timed


@dataclass(frozen=True)
class StoreCost:
    """Cost of a number of runs.

    Attributes:
        runs: number of distinct runs.
        frames: number of encoded frames in them.
        steps: number of steps of their feature maps.
        bytes: size of the features in the store's format.
        flops: operations to compute all features.
    """

    runs: int
    frames: int
    steps: int
    bytes: int
    flops: float

    def hours(self, rate: float) -> float:
        """Hours to compute all features at ``rate`` operations a second."""
        return self.flops / rate / 3600


def cost_of(jobs: Iterable[EncodeJob], config: Any, form: FeatureFormat) -> StoreCost:
    """Count the cost of jobs.

    Args:
        jobs: distinct jobs; each is counted as given.
        config: settings of the generator.
        form: format of the stored features.

    Raises:
        ConfigError: the settings do not describe their cost.
    """
    counted = Counter((job.key.size, job.plan()) for job in jobs)
    costs = [(number, plan, clip_cost(config, size, plan)) for (size, plan), number in counted.items()]
    return StoreCost(
        runs=counted.total(),
        frames=sum(number * len(plan.generative) for number, plan, _ in costs),
        steps=sum(number * cost.steps for number, _, cost in costs),
        bytes=sum(number * stored_bytes(form, cost) for number, _, cost in costs),
        flops=sum(number * cost.total for number, _, cost in costs),
    )


def stored_bytes(form: FeatureFormat, cost: BackboneCost) -> int:
    """Bytes of a clip's features in a format."""
    cells = (form.cells, form.cells) if form.grid == "pooled" else cost.cells
    return cost.steps * form.bytes_per_frame(cost.channels, *cells)


def measured_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate expected of the generator, in operations a second: ``SHARE`` of a matrix product's."""
    matrix = torch.randn(SIDE, SIDE, device=device).to(dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        product = matrix @ matrix
        if device.type == "cuda":
            product[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - start)
    return SHARE * 2.0 * SIDE**3 / sorted(times)[2]
