"""Fill and maintain a feature store from annotations."""

from vega3d._utils import moved
from vega3d.cache.build import Report, build
from vega3d.cache.jobs import EncodeJob, JobPlanner, Problem

__all__ = ["EncodeJob", "JobPlanner", "Problem", "Report", "build"]

__getattr__ = moved.names(
    __name__, {"Job": "vega3d.cache.jobs:EncodeJob", "Needs": "vega3d.cache.jobs:JobPlanner"}
)
