"""Loading of encoders from settings, and the check that a loaded encoder agrees with settings.

The registry gives the class, and its ``from_pretrained`` does the rest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from vega3d import registry
from vega3d.backbones.base import Backbone
from vega3d.config import FREE, Vega3DConfig
from vega3d.errors import ConfigError


def load_backbone(config: Vega3DConfig) -> Backbone:
    """Load the generator of a config.

    Raises:
        ConfigError: the config has no path of its weights.
    """
    return _load(config.backbone, "backbone")


def load_streams(config: Vega3DConfig) -> tuple[Backbone, ...]:
    """Load the encoders of a config's semantic streams, in order.

    Raises:
        ConfigError: the config has no path of the weights of one of them.
    """
    streams = enumerate(config.semantic_streams)
    return tuple(_load(settings, f"semantic_streams[{index}]") for index, settings in streams)


def _load(settings: Any, field: str) -> Backbone:
    name = registry.backbone_name(settings)
    if settings.path is None:
        title, got = f"Missing path of the weights in config.{field}.", f"config.{field}.path = None"
        fix = f"set {type(settings).__name__}(path=...), or pass the loaded encoder to Vega3DAdapter"
        raise ConfigError(title, got=got, expected="a folder or a hub id", fix=fix)
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
        title = f"Invalid {field}: its features depend on the host's token grid."
        expected, fix = "features on a grid of their own", "encode at a resolution of your own choice"
        raise ConfigError(title, got="needs_host_grid = True", expected=expected, fix=fix)
    if settings.channels is None:
        title, got = f"Missing width of {field}.", f"no loaded encoder, and config.{field}.channels = None"
        fix = "pass the encoder, or for example WanConfig(channels=1536) for Wan2.1 1.3B"
        raise ConfigError(title, got=got, expected="a loaded encoder, or its number of channels", fix=fix)
    if asked == type(asked)() or type(asked) is not type(settings):
        return settings
    names = [entry.name for entry in dataclasses.fields(asked) if entry.name not in FREE]
    differ = [name for name in names if getattr(asked, name) != getattr(settings, name)]
    if differ:
        got, expected = (
            ", ".join(f"{name}={getattr(config, name)!r}" for name in differ) for config in (settings, asked)
        )
        title = f"Invalid encoder of {field}: its settings differ from the config's."
        fix = f"load the encoder with config=config.{field}, or leave config.{field} out"
        raise ConfigError(title, got=f"loaded {got}", expected=expected, fix=fix)
    return settings


def agreed_streams(asked: tuple[Any, ...], streams: tuple[Backbone, ...]) -> tuple[Any, ...]:
    """Settings in force of all semantic streams, see ``agreed``; either side may be empty.

    Raises:
        ConfigError: the numbers differ, or one pair does not agree.
    """
    if asked and streams and len(asked) != len(streams):
        expected = f"{len(asked)}, in the order of config.semantic_streams"
        fix = "pass streams=load_streams(config), or leave config.semantic_streams out"
        got = f"{len(streams)} loaded streams"
        raise ConfigError("Invalid number of streams.", got=got, expected=expected, fix=fix)
    for settings in asked:
        registry.backbone_name(settings)  # refuses anything but settings, such as a bare name
    asked = asked or tuple(stream.spec.config for stream in streams)
    pairs = zip(asked, streams or (None,) * len(asked), strict=True)
    return tuple(
        agreed(settings, stream, f"semantic_streams[{index}]")
        for index, (settings, stream) in enumerate(pairs)
    )
