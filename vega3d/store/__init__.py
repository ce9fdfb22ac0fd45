"""Features on disk, so that the frozen branch runs once for each clip.

A store is a folder. ``store.json`` names its generator and the form of its features; every other file is a
shard that is written once, under a unique name, and never changed. So there is no server and no lock:
many processes read, several write, on one machine or on one file system.
"""

from vega3d._utils import moved
from vega3d.store.feature_store import FeatureStore
from vega3d.store.format import FeatureFormat, FeatureKey, identify

__all__ = ["FeatureFormat", "FeatureKey", "FeatureStore", "identify"]

__getattr__ = moved.names(__name__, {"Form": "vega3d.store.format:FeatureFormat"})
