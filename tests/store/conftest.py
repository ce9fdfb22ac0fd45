"""A store of made-up features: what a generator would give is of no concern here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vega3d.grid import FeatureMap
from vega3d.store import FeatureFormat, FeatureKey, FeatureStore

BACKBONE = {"type": "wan", "mode": "frame", "block": 20, "sigma": 0.3, "path": "somewhere"}


def key(number: int, **changes: object) -> FeatureKey:
    return FeatureKey(**{"media": "sha256:ab", "frames": (number,), "size": (48, 64), **changes})  # type: ignore[arg-type]


def feature_map(number: int, channels: int = 8, height: int = 3, width: int = 4) -> FeatureMap:
    generator = torch.Generator().manual_seed(number)
    return FeatureMap(torch.randn(channels, 1, height, width, generator=generator), ((0,),))


def create(path: Path, form: FeatureFormat | None = None, **changes: object) -> FeatureStore:
    return FeatureStore.create(path, fingerprint="f" * 64, backbone={**BACKBONE, **changes}, form=form)


def fill(store: FeatureStore, numbers: range, each: int = 4) -> None:
    """``each`` runs a shard."""
    with store.writer() as writer:
        for number in numbers:
            writer.add(key(number), feature_map(number), [f"video_{number}.mp4"])
            if number % each == each - 1:
                writer.flush()


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., FeatureStore]:
    """Makes a store of 12 runs in 3 shards, as float32 so that features are found bit by bit."""

    def make(form: FeatureFormat | None = None) -> FeatureStore:
        store = create(tmp_path / "store", form or FeatureFormat(precision="float32"))
        fill(store, range(12))
        return store

    return make
