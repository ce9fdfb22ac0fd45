"""What a store will cost before anything is computed: bytes, operations, hours.

Counted from shapes, so it needs the generator's configuration and not its weights. Hours follow from a rate:
a matrix product is timed on the device, and the branch is taken to reach half of it (docs/benchmarks.md has
measured shares).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from vega3d.backbones.wan.flops import DitShape, VaeShape, wan_flops
from vega3d.backbones.wan.picture import tower_size
from vega3d.cache.jobs import EncodeJob
from vega3d.config import PATCH, WanConfig
from vega3d.estimate.shapes import WanShape
from vega3d.store import FeatureFormat

SHARE = 0.5  # of a matrix product's rate
SIDE = 2048  # of the matrices that are timed

Size = tuple[int, int]
"""Height and width."""

Shape = tuple[Size, int]
"""Frame size and frames of a run: runs of one shape cost the same."""


@dataclass(frozen=True)
class Cost:
    """What a number of runs costs.

    Attributes:
        runs: distinct runs.
        frames: frames in them.
        steps: feature maps of one instant.
        bytes: in the asked form.
        flops: of computing all of them.
    """

    runs: int
    frames: int
    steps: int
    bytes: int
    flops: float

    def hours(self, rate: float) -> float:
        """At ``rate`` operations a second."""
        return self.flops / rate / 3600


def cost_of(jobs: Iterable[EncodeJob], config: WanConfig, shape: WanShape, form: FeatureFormat) -> Cost:
    """The cost of jobs, each counted as given.

    Args:
        jobs: distinct ones.
        config: settings of the generator.
        shape: its dimensions.
        form: in which features are stored.
    """
    counted: Counter[Shape] = Counter((job.key.size, len(job.key.frames)) for job in jobs)
    dit, vae = DitShape.from_diffusers(shape.transformer), VaeShape.from_diffusers(shape.vae)
    steps, size, flops = 0, 0, 0.0
    for (frame, length), number in counted.items():
        tower = tower_size(*frame, config)
        kept = _steps(config, length)
        clip = length if config.mode in ("joint", "clip") else 1  # frames of the host that one run stands for
        steps += number * kept
        size += number * kept * form.bytes_per_frame(dit.channels, *_cells(form, config, tower))
        flops += number * wan_flops(config, dit, vae, *tower, clip).total
    frames = sum(number * length for (_, length), number in counted.items())
    return Cost(counted.total(), frames, steps, size, flops)


def _steps(config: WanConfig, length: int) -> int:
    if config.mode == "clip":
        return 1 + -(-(length - 1) // 4)
    return length if config.mode == "joint" else 1


def _cells(form: FeatureFormat, config: WanConfig, tower: Size) -> Size:
    if form.grid == "pooled":
        return form.cells, form.cells
    return (config.pool, config.pool) if config.pool else (tower[0] // PATCH, tower[1] // PATCH)


def measured_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that the branch can be expected to reach: ``SHARE`` of a timed matrix product."""
    one = torch.randn(SIDE, SIDE, device=device).to(dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        product = one @ one
        if device.type == "cuda":
            product[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - start)
    return SHARE * 2.0 * SIDE**3 / sorted(times)[2]
