"""Costs from configurations alone: parameters, memory, operations, bytes on disk.

    result = estimate(Setup(host="7b", wan="t2v-1.3b", frames=(8, 32), modes=("frame", "clip")))
    result.clips[0].branch.total        # operations of the generator on 8 frames

Parameters are counted on the real classes on the meta device. Operations and memory follow from shapes, by
formulas that tests compare with torch's own counters. Nothing is downloaded but the ``config.json`` of a
model that is not among the published ones. Time depends on the machine and must be measured.
"""

from __future__ import annotations

from vega3d.costs.estimate import ClipCost, Estimate, Training, estimate
from vega3d.costs.setup import Setup

__all__ = ["ClipCost", "Estimate", "Setup", "Training", "estimate"]
