"""Loading of encoders from settings, and the check that a loaded encoder agrees with settings.

The registry gives the class, and its ``from_pretrained`` does the rest.
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
    """Load the generator of a config.

    Raises:
        ConfigError: the config has no path of its weights.
    """
    return _load(config.backbone, "backbone", "backbone=...")


def load_streams(config: Vega3DConfig) -> tuple[Backbone, ...]:
    """Load the encoders of a config's semantic streams, in order.

    Raises:
        ConfigError: the config has no path of the weights of one of them.
    """
    return tuple(
        _load(settings, f"semantic_streams[{index}]", "one of streams=...")
        for index, settings in enumerate(config.semantic_streams)
    )


def _load(settings: Any, field: str, argument: str) -> Backbone:
    name = registry.backbone_name(settings)
    if settings.path is None:
        raise ConfigError(
            f"Missing path of the weights in config.{field}.",
            got=f"config.{field}.path = None",
            expected="a folder or a hub id",
            fix=f"set {type(settings).__name__}(path=...), or load it and pass it as {argument}",
        )
    encoder: Backbone = registry.resolve("backbones", name).from_pretrained(settings.path, config=settings)
    return encoder


def agreed(asked: Any, encoder: Backbone | None, field: str = "backbone") -> Any:
    """Settings in force: those of the loaded encoder, which the config must not contradict.

    Args:
        asked: the config's settings; settings equal to the defaults are not compared.
        encoder: the loaded encoder; None is allowed if the config gives the width.
        field: path of the settings in the config, for messages.

    Raises:
        ConfigError: the width is missing, or config and encoder describe different features.
    """
    settings = encoder.spec.config if encoder is not None else asked
    if getattr(settings, "needs_host_grid", False):
        raise ConfigError(
            f"Invalid {field}: its features depend on the host's token grid.",
            got=f"{type(settings).__name__}.needs_host_grid = True",
            expected="features on a grid of their own, which are resampled to that of any host",
            fix="encode at a resolution of your own choice; area-weighted resampling follows",
        )
    if settings.channels is None:
        raise ConfigError(
            f"Missing width of the features of {field}.",
            got=f"no loaded encoder, and config.{field}.channels = None",
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
            f"Invalid encoder of {field}: its settings differ from the config's.",
            got=", ".join(f"loaded {name}={getattr(settings, name)!r}" for name in differ),
            expected=", ".join(f"{name}={getattr(asked, name)!r}" for name in differ),
            fix=f"load the encoder with config=config.{field}, or leave config.{field} out",
        )
    return settings


def agreed_streams(asked: tuple[Any, ...], streams: tuple[Backbone, ...]) -> tuple[Any, ...]:
    """Settings in force of all semantic streams, see ``agreed``; either side may be empty.

    Raises:
        ConfigError: the numbers differ, or one pair does not agree.
    """
    if asked and streams and len(asked) != len(streams):
        raise ConfigError(
            f"Invalid number of streams: {len(streams)} loaded, {len(asked)} in config.semantic_streams.",
            got=f"{len(streams)} loaded streams",
            expected=f"{len(asked)}, in the config's order",
            fix="pass streams=load_streams(config), or leave config.semantic_streams out",
        )
    for settings in asked:
        registry.backbone_name(settings)  # refuses anything but settings, such as a bare name
    asked = asked or tuple(stream.spec.config for stream in streams)
    pairs = zip(asked, streams or (None,) * len(asked), strict=True)
    return tuple(
        agreed(settings, stream, f"semantic_streams[{index}]")
        for index, (settings, stream) in enumerate(pairs)
    )


def dtype_name(dtype: torch.dtype | str) -> DType:
    """Name of a dtype, ``float32`` or ``bfloat16``, from its name or torch's dtype.

    Raises:
        ConfigError: another dtype.
    """
    names: dict[str, DType] = {"float32": "float32", "bfloat16": "bfloat16"}
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise unknown_choice("dtype", name, names)
    return names[name]
