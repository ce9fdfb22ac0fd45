"""From a clip's plan to stored features: the address of each run, and one map from all of them.

A run of a video is addressed by the file and its frame numbers. A run of pictures is addressed by the
pictures themselves, so a picture has one address whether it comes alone, in a group, or in a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vega3d.grid import FeatureMap
from vega3d.store.feature_store import FeatureStore
from vega3d.store.forms import Form
from vega3d.store.keys import FeatureKey, identify_set
from vega3d.video import FramePlan

Size = tuple[int, int]


@dataclass(frozen=True)
class Stored:
    """Features of a clip that a store holds.

    Attributes:
        feature_map: as it was stored.
        fingerprint: of the generator that the store belongs to.
        store: its folder.
    """

    feature_map: FeatureMap
    fingerprint: str
    store: str


@dataclass(frozen=True)
class ToCompute:
    """Stands for the features of a clip that a store does not hold.

    Attributes:
        form: what live features are cast to, so that they equal stored ones.
        fingerprint: of the generator that the store belongs to.
        store: its folder.
        source: what a message calls the media.
        key: address of the first missing run.
    """

    form: Form
    fingerprint: str
    store: str
    source: str
    key: FeatureKey


Looked = Stored | ToCompute | None
"""What a look into a store found for a clip; None: nobody looked."""


def video_keys(plan: FramePlan, media: str, size: Size) -> list[FeatureKey]:
    """The address of each run of a video.

    Args:
        plan: whose frame numbers count frames of the file.
        media: identity of the file.
        size: height and width of the decoded frames.
    """
    return [FeatureKey(media, tuple(plan.generative[at] for at in run), size) for run in plan.runs]


def picture_keys(plan: FramePlan, media: Sequence[str], size: Size) -> list[FeatureKey]:
    """The address of each run of pictures; ``media`` holds the identity of each frame of the source."""
    keys = []
    for run in plan.runs:
        own = [media[plan.generative[at]] for at in run]
        once = list(dict.fromkeys(own))
        keys.append(FeatureKey(identify_set(once), tuple(once.index(one) for one in own), size))
    return keys


def stored_map(
    store: FeatureStore, plan: FramePlan, keys: Sequence[FeatureKey], source: str
) -> Stored | ToCompute:
    """The features of a clip from all of its runs; if one is missing, none is taken.

    Raises:
        StoreError: a feature is damaged.
    """
    found = store.read(keys, plan.runs)
    if found is not None:
        return Stored(found, store.fingerprint, str(store.path))
    first = next((key for key in keys if key not in store), keys[0])
    return ToCompute(store.form, store.fingerprint, str(store.path), source, first)
