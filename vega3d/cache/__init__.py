"""Filling a feature store and looking after it: what annotations need, what is there, what it costs.

The store itself knows keys and maps; here are the media they come from and the generator that computes them.
"""

from vega3d._utils import moved
from vega3d.cache.build import Report, build
from vega3d.cache.jobs import EncodeJob, JobPlanner, Problem

__all__ = ["EncodeJob", "JobPlanner", "Problem", "Report", "build"]

__getattr__ = moved.names(
    __name__, {"Job": "vega3d.cache.jobs:EncodeJob", "Needs": "vega3d.cache.jobs:JobPlanner"}
)
