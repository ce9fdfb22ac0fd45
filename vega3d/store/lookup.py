"""The result of a cache lookup: the features of a clip, or how live features are to be cast.

A hit is no dataclass: mixed-precision wrappers (FSDP, DDP) descend into dataclasses and would cast what was
stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan
from vega3d.store.feature_store import FeatureStore
from vega3d.store.format import FeatureFormat
from vega3d.store.keys import FeatureKey


class CacheHit:
    """Features of a clip that a store holds.

    Attributes:
        feature_map: stored features of all runs.
        fingerprint: fingerprint of the store's generator.
        store: folder of the store.
    """

    def __init__(self, feature_map: FeatureMap, fingerprint: str, store: str) -> None:
        self.feature_map, self.fingerprint, self.store = feature_map, fingerprint, store


@dataclass(frozen=True)
class CacheMiss:
    """Cache miss of a clip.

    Attributes:
        format: form that live features are cast to, so that they equal stored ones.
        fingerprint: fingerprint of the store's generator.
        store: folder of the store.
        source: name of the media in messages.
        key: address of the first missing run.
    """

    format: FeatureFormat
    fingerprint: str
    store: str
    source: str
    key: FeatureKey


CacheLookup = CacheHit | CacheMiss | None
"""Result of a cache lookup for a clip; None if no store is used."""


def look_up(
    store: FeatureStore, plan: FramePlan, keys: Sequence[FeatureKey], source: str
) -> CacheHit | CacheMiss:
    """Look up the features of a clip; it is a hit if all of its runs are stored.

    Raises:
        StoreError: a feature is damaged.
    """
    features = store.read(keys, plan.runs)
    if features is not None:
        return CacheHit(features, store.fingerprint, str(store.path))
    missing = next((key for key in keys if key not in store), keys[0])
    return CacheMiss(store.form, store.fingerprint, str(store.path), source, missing)
