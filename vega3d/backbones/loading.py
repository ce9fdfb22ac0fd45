"""From settings to loaded encoders, and whether a loaded encoder computes what settings ask for.

The registry finds the class, its ``from_pretrained`` does the rest. This module knows no particular encoder.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from vega3d import registry
from vega3d.backbones.base import Backbone
from vega3d.config import FREE, DType, Vega3DConfig
from vega3d.errors import ConfigError, unknown_choice


def load_backbone(config: Vega3DConfig) -> Backbone:
    """The generator that a config names.

    Raises:
        ConfigError: it names none.
    """
    return _load(config.backbone, "backbone", "backbone=...")


def load_streams(config: Vega3DConfig) -> tuple[Backbone, ...]:
    """The encoders of a config's semantic streams, in order.

    Raises:
        ConfigError: one of them names no weights.
    """
    return tuple(
        _load(settings, f"semantic_streams[{at}]", "one of streams=...")
        for at, settings in enumerate(config.semantic_streams)
    )


def _load(settings: Any, place: str, argument: str) -> Backbone:
    name = registry.backbone_name(settings)
    if settings.path is None:
        raise ConfigError(
            f"The config names no {'backbone' if place == 'backbone' else 'weights of ' + place}.",
            got=f"config.{place}.path = None",
            expected="a folder or a hub id",
            fix=f"set {type(settings).__name__}(path=...), or load it and pass it as {argument}",
        )
    encoder: Backbone = registry.resolve("backbones", name).from_pretrained(settings.path, config=settings)
    return encoder


def agreed(asked: Any, encoder: Backbone | None, place: str = "backbone") -> Any:
    """The settings in force: those of the loaded encoder, which the config's may not contradict.

    Args:
        asked: the config's settings; all defaults ask for nothing.
        encoder: the loaded encoder; None is allowed where the config knows its width.
        place: where in the config the settings stand.

    Raises:
        ConfigError: the width is not known, or the two compute different features.
    """
    settings = encoder.spec.config if encoder is not None else asked
    if getattr(settings, "needs_host_grid", False):
        raise ConfigError(
            f"Invalid {place}: its features depend on the host's token grid.",
            got=f"{type(settings).__name__}.needs_host_grid = True",
            expected="features on a grid of their own, which are resampled to every host's",
            fix="encode at a resolution of your own choice; area-weighted resampling follows",
        )
    if settings.channels is None:
        raise ConfigError(
            f"The width of the features of {place} is not known.",
            got=f"no loaded encoder, and config.{place}.channels = None",
            expected="a loaded encoder, or its number of channels",
            fix="pass the encoder, or its width: WanConfig(channels=1536) for Wan2.1 1.3B, "
            "SiglipConfig(channels=1152) for so400m",
        )
    if asked == type(asked)() or type(asked) is not type(settings):
        return settings
    names = [entry.name for entry in dataclasses.fields(asked) if entry.name not in FREE]
    differ = [name for name in names if getattr(asked, name) != getattr(settings, name)]
    if differ:
        raise ConfigError(
            f"The config and the loaded encoder disagree about the features of {place}.",
            got=", ".join(f"loaded {name}={getattr(settings, name)!r}" for name in differ),
            expected=", ".join(f"{name}={getattr(asked, name)!r}" for name in differ),
            fix=f"load the encoder with config=config.{place}, or leave config.{place} out",
        )
    return settings


def agreed_streams(asked: tuple[Any, ...], streams: tuple[Backbone, ...]) -> tuple[Any, ...]:
    """The same for all semantic streams: one encoder for each, or none loaded, or none asked for.

    Raises:
        ConfigError: the numbers differ, or one pair does not agree.
    """
    if asked and streams and len(asked) != len(streams):
        raise ConfigError(
            "config.semantic_streams and the loaded streams differ in number.",
            got=f"{len(streams)} loaded streams",
            expected=f"{len(asked)}, in the config's order",
            fix="pass streams=load_streams(config), or leave config.semantic_streams out",
        )
    for one in asked:
        registry.backbone_name(one)  # refuses what are no settings, such as a bare name
    asked = asked or tuple(stream.spec.config for stream in streams)
    pairs = zip(asked, streams or (None,) * len(asked), strict=True)
    return tuple(agreed(one, stream, f"semantic_streams[{at}]") for at, (one, stream) in enumerate(pairs))


def dtype_name(dtype: torch.dtype | str) -> DType:
    """``float32`` or ``bfloat16``, however it is given.

    Raises:
        ConfigError: it is neither.
    """
    names: dict[str, DType] = {"float32": "float32", "bfloat16": "bfloat16"}
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise unknown_choice("dtype", name, names)
    return names[name]
