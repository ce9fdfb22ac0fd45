"""The generator's features of a batch: those that a store holds, and the others computed now.

Whatever is computed while a store is in use passes through the store's cast, so a feature is the same
whether it was read or computed. Features that were read must come from the very generator that is loaded,
if one is. This module knows no host and no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vega3d.backbones import Backbone
from vega3d.errors import BackboneError, InputError, StoreError
from vega3d.grid import FeatureMap
from vega3d.store.lookup import Looked, Stored, ToCompute
from vega3d.video import FramePlan


def generator_maps(
    backbone: Backbone | None,
    frames: Sequence[Tensor],
    plans: Sequence[FramePlan],
    looked: Sequence[Looked],
) -> list[FeatureMap]:
    """One map for each clip.

    Args:
        backbone: the loaded generator; None is enough where everything is stored.
        frames: (T, 3, H, W) of each clip; empty where its features are stored.
        plans: of each clip.
        looked: of each clip what a look into a store found; None where there is no store.

    Raises:
        BackboneError: features have to be computed, and there is no generator.
        StoreError: a store belongs to another generator.
    """
    for one in looked:
        if one is not None and backbone is not None and one.fingerprint != backbone.fingerprint():
            raise _another_generator(backbone, one)
    missing = [at for at, one in enumerate(looked) if not isinstance(one, Stored)]
    found = {at: one.feature_map for at, one in enumerate(looked) if isinstance(one, Stored)}
    if missing:
        if backbone is None:
            raise _cannot_compute(looked[missing[0]])
        computed = backbone([frames[at] for at in missing], [plans[at] for at in missing])
        for at, feature_map in zip(missing, computed, strict=True):
            found[at] = _as_stored(feature_map, looked[at])
    return [found[at] for at in range(len(looked))]


def looked_up(given: Sequence[Looked] | None, clips: int, name: str) -> list[Looked]:
    """What was found for each clip, or None for each.

    Raises:
        InputError: it does not fit the clips.
    """
    if given is not None and len(given) != clips:
        raise InputError(
            f"{name} does not fit the media.",
            got=f"{len(given)} entries",
            expected=f"{clips}, one for each clip",
            fix="pass everything that Vega3DProcessor returned",
        )
    return list(given) if given is not None else [None] * clips


def _as_stored(feature_map: FeatureMap, looked: Looked) -> FeatureMap:
    return looked.form.cast(feature_map) if isinstance(looked, ToCompute) else feature_map


def _another_generator(backbone: Backbone, looked: Stored | ToCompute) -> StoreError:
    return StoreError(
        f"The store {looked.store} holds features of another generator than the one that is loaded.",
        got=f"fingerprint {looked.fingerprint[:12]} in the store",
        expected=f"fingerprint {backbone.fingerprint()[:12]} of the loaded {backbone.spec.name}",
        fix="load the generator that the store was built with, build another store, or leave the store out",
    )


def _cannot_compute(looked: Looked) -> BackboneError:
    if not isinstance(looked, ToCompute):
        return BackboneError(
            "There are images or videos, but the adapter has no backbone.",
            got="backbone=None, and no stored features",
            expected="a loaded backbone, or a processor with a store that holds the features",
            fix="adapter.backbone = WanBackbone.from_pretrained(path, config=...), "
            "or give the processor a store",
        )
    return BackboneError(
        f"The features of {looked.source} are not stored, and the adapter has no backbone to compute them.",
        got=f"no {looked.key.digest} (frames {list(looked.key.frames)}) in {looked.store}",
        expected="features of every medium in the store, or a loaded backbone",
        fix=f"vega3d cache build {looked.store} --media {looked.source}",
    )
