"""Write features to a store: they collect in memory and become one shard at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from vega3d._version import __version__
from vega3d.grid import FeatureMap
from vega3d.store import shards
from vega3d.store.keys import FeatureKey

if TYPE_CHECKING:
    from vega3d.store.feature_store import FeatureStore

SHARD_BYTES = 256 << 20  # a shard is written when it has so many
MANY_SHARDS = 64  # of one writer: then the small ones are joined


class StoreWriter:
    """Adds features shard by shard; leaving the context writes the rest.

    Args:
        store: store that the features are added to.
        provenance: device and versions, written into each shard.
    """

    def __init__(self, store: FeatureStore, provenance: Mapping[str, str] | None = None) -> None:
        self.store = store
        self.provenance = {"vega3d": __version__, "torch": torch.__version__, **(provenance or {})}
        self._waiting: list[shards.Entry] = []
        self._bytes = 0
        self._written: list[Path] = []

    def add(
        self,
        key: FeatureKey,
        feature_map: FeatureMap,
        files: Sequence[str] = (),
        kind: Literal["video", "pictures"] = "video",
        marks: Sequence[Sequence[Mapping[str, Any]]] = (),
    ) -> None:
        """Add the features of one run, in the store's form.

        Args:
            key: address of the run.
            feature_map: computed map of this run alone; ``frames`` are positions in the run.
            files: paths of the media, for messages and for ``repair``.
            kind: one video, or single pictures.
            marks: marks drawn on each picture, plain JSON types; empty if there are none.
        """
        reduced = self.store.form.reduce(feature_map)
        tensors = self.store.form.pack(reduced.features)
        info = {
            "key": key.to_dict(),
            "files": list(files),
            "kind": kind,
            "marks": [list(drawn) for drawn in marks],
            "steps": [list(step) for step in reduced.frames],
            "resampling": reduced.resampling,
        }
        self._waiting.append(shards.Entry(key.digest, tensors, info))
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the collected features as one shard, so that a killed process does not lose them.

        Raises:
            StoreError: the shard cannot be written; the store is unchanged.
        """
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._written.append(shards.write(self.store.new_shard(), waiting, self.provenance))
        if len(self._written) >= MANY_SHARDS:
            self.store.compact(self._written)
            self._written = []

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.flush()  # after an error too: what was computed is not lost
