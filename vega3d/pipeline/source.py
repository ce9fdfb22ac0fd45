"""The settings that a model's name stands for, before any weights are loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vega3d import checkpoint
from vega3d._utils import hub
from vega3d.checkpoint.lora import Lora
from vega3d.checkpoint.record import with_pico
from vega3d.config import Vega3DConfig
from vega3d.errors import BackboneError, ConfigError, HostError
from vega3d.pico import PICO
from vega3d.store import FeatureStore

NONE = "none"
PICO_PIXELS = 128 * 128  # the size of the frames that pico's Wan was trained on
MODELS = "pico, a vega3d checkpoint, or a Qwen-VL: a folder or hub id"
BACKBONES = "pico, none, or a Wan: a folder or hub id"


@dataclass(frozen=True)
class Source:
    """A model before its weights are loaded.

    Attributes:
        config: settings of the wrapped model.
        tensors: projector and fusion of a checkpoint; None starts as the identity.
        lora: of a checkpoint's host; None if there is none.
        store: stored features.
        store_only: no backbone is loaded; all features must be stored.
        processor: folder with the processor of a checkpoint; None takes the host's.
    """

    config: Vega3DConfig
    tensors: Mapping[str, Tensor] | None = None
    lora: Lora | None = None
    store: FeatureStore | None = None
    store_only: bool = False
    processor: str | None = None

    def with_settings(self, changes: Mapping[str, Any]) -> Source:
        """Replace sections of the settings; a path may be ``pico``.

        Args:
            changes: by name of the section. Fields of the host, and of a backbone of the same type, that are
                not named stay as they are.
        """
        record = self.config.to_dict()
        for name, value in changes.items():
            before = record[name]
            is_part = name in ("backbone", "host") and value.get("type") in (None, before.get("type"))
            record[name] = {**before, **value} if is_part else value
        config = Vega3DConfig.from_dict(with_pico(record, by_name=False))
        processor = None if "host" in changes else self.processor
        return dataclasses.replace(self, config=config, processor=processor)

    def with_store(self, store: FeatureStore | None, *, only: bool = False) -> Source:
        """Read features from a store; with ``only`` it also gives the width of the features."""
        config = self.config
        if only and store is not None:
            config = with_fields(config, channels=store.backbone["channels"])
        return dataclasses.replace(self, config=config, store=store, store_only=only)


def with_fields(config: Vega3DConfig, **fields: Any) -> Vega3DConfig:
    """Settings with other fields of their generator."""
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **fields))


def saved(path: str | os.PathLike[str], revision: str | None = None, *, given: bool = False) -> Source:
    """A checkpoint's settings, projector, fusion and LoRA.

    Args:
        path: folder or hub id.
        revision: hub revision of ``path``.
        given: the host comes from elsewhere.

    Raises:
        CheckpointError: a file is missing, damaged or too new, or the host was trained and is not loaded.
    """
    read = checkpoint.load(path, revision)
    read.require_own_host(given=given)
    processor = str(read.folder) if checkpoint.has_processor(read.folder) else None
    return Source(read.config, read.tensors, read.lora(), processor=processor)


def find(model: str, backbone: str | None = None, store: FeatureStore | None = None) -> Source:
    """The settings that names stand for; see ``load``.

    Raises:
        ConfigError: a plain host without a backbone, or neither backbone nor store.
    """
    if backbone == NONE and store is None:
        got, expected = f"--backbone {NONE} without --store", "a store of features"
        raise ConfigError("Missing features.", got=got, expected=expected, fix="pass --store, or a backbone")
    named = None if backbone == NONE else backbone
    if model != PICO and checkpoint.is_ours(model):
        source = saved(model)
    else:
        source = Source(Vega3DConfig()).with_settings({"host": {"path": model}})
        named = named or _default_backbone(model, store)
    if named is not None:
        source = dataclasses.replace(source, config=with_backbone(source.config, named))
    return source.with_store(store, only=backbone == NONE)


def require_names(model: str, backbone: str | None = None) -> None:
    """Refuse names of models that are nowhere, before anything is loaded.

    Raises:
        HostError, BackboneError: there is no model of that name.
    """
    if model != PICO:
        hub.require_repository(model, error=HostError, what="model", expected=MODELS)
    if backbone not in (None, PICO, NONE):
        hub.require_repository(str(backbone), error=BackboneError, what="backbone", expected=BACKBONES)


def _default_backbone(model: str, store: FeatureStore | None) -> str:
    if model == PICO:
        return PICO
    if store is not None:
        return str(store.backbone["path"])
    title = f"Missing backbone: {model!r} is a plain host."
    fix = "pass --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or a vega3d checkpoint as --model"
    raise ConfigError(title, got="--backbone is missing", expected="the folder or hub id of a Wan", fix=fix)


def with_backbone(config: Vega3DConfig, backbone: str) -> Vega3DConfig:
    """A config whose generator is ``pico``, or the one in a folder or hub repository."""
    changed = Source(config).with_settings({"backbone": {"path": backbone, "revision": None}}).config
    if backbone == PICO and changed.backbone.pixels > PICO_PIXELS:
        return with_fields(changed, pixels=PICO_PIXELS)
    return changed
