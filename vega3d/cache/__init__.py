"""Filling a feature store and looking after it: what annotations need, what is there, what it costs.

The store itself knows keys and maps; here are the media they come from and the generator that computes them.
"""

from vega3d.cache.build import Report, build
from vega3d.cache.needs import Job, Needs, Problem

__all__ = ["Job", "Needs", "Problem", "Report", "build"]
