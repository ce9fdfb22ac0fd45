"""The generator's side of a batch from a store: which features are there, and which have to be computed.

It runs where batches are made, in the data workers, and knows no backbone: it compares settings, not weights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vega3d.clips import Clip
from vega3d.image import shown
from vega3d.marks import Marks, identify_drawn
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore, identify
from vega3d.store.lookup import Looked, picture_keys, stored_map
from vega3d.video import FramePlan, frame_plan


class StoredFeatures:
    """Looks for the features of pictures and clips.

    Args:
        store: None finds nothing.
        settings: of the generator.

    Raises:
        StoreError: the store holds features of a generator with other settings.
    """

    def __init__(self, store: FeatureStore | None, settings: Any) -> None:
        self.store, self.settings = store, settings
        if store is not None:
            store.require_settings(backbone_record(settings))

    def of_clips(
        self,
        clips: Sequence[Clip],
    ) -> list[Looked]:
        """Features of videos."""
        if self.store is None:
            return [None] * len(clips)
        return [
            stored_map(self.store, clip.plan, clip.keys(self.store.identity), clip.name) for clip in clips
        ]

    def of_pictures(
        self,
        sources: Sequence[Any],
        pictures: Sequence[Tensor],
        marks: Sequence[Marks],
        groups: Sequence[Sequence[int]],
    ) -> list[Looked]:
        """Features of each clip of images.

        Args:
            sources: for each image, where it comes from.
            pictures: for each image, its decoded pixels (3, H, W), without marks.
            marks: for each image, what the generator sees drawn on it.
            groups: a partition of the images into clips.
        """
        assert self.store is not None
        media = [
            identify_drawn(self._identity(source, picture), own)
            for source, picture, own in zip(sources, pictures, marks, strict=True)
        ]
        found: list[Looked] = []
        for group in groups:
            plan = frame_plan(self.settings, range(len(group)))
            keys = image_group_keys(plan, group, media, pictures)
            found.append(stored_map(self.store, plan, keys, shown(sources[group[0]])))
        return found

    def _identity(self, source: Any, picture: Tensor) -> str:
        assert self.store is not None
        name = os.fspath(source).removeprefix("file://") if isinstance(source, (str, os.PathLike)) else ""
        return identify(name if os.path.isfile(name) else picture, self.store.identity)


def image_group_keys(
    plan: FramePlan,
    group: Sequence[int],
    media: Sequence[str],
    pictures: Sequence[Tensor],
) -> list[Any]:
    """The address of each run of a clip of images, given the identities of all images."""
    first = group[0]
    size = (pictures[first].shape[1], pictures[first].shape[2])
    return picture_keys(plan, [media[index] for index in group], size)
