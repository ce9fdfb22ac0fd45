"""Load the parts of a model and put them together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import set_seed

from vega3d import checkpoint
from vega3d.adapter import Vega3DAdapter
from vega3d.backbones import Backbone, loading
from vega3d.backbones.base import clip_cost
from vega3d.checkpoint.lora import load_lora
from vega3d.config import Vega3DConfig
from vega3d.errors import ConfigError
from vega3d.hosts.empty import empty_host, find_host
from vega3d.hosts.loading import Device, DType, device_of, load_host
from vega3d.pico import PICO
from vega3d.pipeline.answering import Pipeline
from vega3d.pipeline.source import Source, find, require_names, with_fields
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureStore

SIZE = (480, 640)  # height and width of a frame, where any will do
Log = Callable[[str], None]
Adapter = TypeVar("Adapter", bound=Vega3DAdapter)


def _no_log(text: str) -> None:
    del text


def load(
    model: str = PICO,
    backbone: str | None = None,
    *,
    store: str | Path | None = None,
    dtype: DType = "auto",
    attention: str | None = None,
    device: Device = "auto",
    device_map: Any = None,
    log: Log = _no_log,
) -> Pipeline:
    """Load host, backbone and, if there are any, semantic streams, trained projector, fusion and LoRA.

    Args:
        model: ``pico``, a folder or hub id of one of our checkpoints, or of a plain host.
        backbone: ``pico``, or a folder or hub id of a Wan; None takes the one that the checkpoint names, and
            pico's for pico; ``none`` loads none: all features must be stored.
        store: folder of stored features.
        dtype: precision of the host; ``auto`` is the one in which it was saved.
        attention: back end of the host's attention, such as ``flash_attention_2``; None is its default.
        device: of the model; ``auto`` is a GPU if there is one. ``meta`` loads no weights: the model of a
            config, whose parameters can be counted.
        device_map: of transformers, for a host on several devices; instead of ``device``.
        log: called with one line before each slow step.

    Raises:
        ConfigError: a plain host without a backbone, neither backbone nor store, no such device, or a device
            beside a device map.
        HostError, BackboneError: there is no model of that name.
        CheckpointError: the checkpoint is damaged, or belongs to another host.
    """
    place = _place(device, device_map)
    model, backbone = os.path.expanduser(model), backbone and os.path.expanduser(backbone)
    if device != "meta":  # an empty host may have a short name
        require_names(model, backbone)
    source = find(model, backbone, FeatureStore(Path(store).expanduser()) if store is not None else None)
    options = {"dtype": dtype, "attention": attention, "log": log, **place}
    if device == "meta":
        source, options = without_weights(source)
    pipeline = build(source, model, **options)
    pipeline.adapter.eval()
    return pipeline


def _place(device: Device, device_map: Any) -> dict[str, Any]:
    """Options of ``assemble`` that place a host: a device, or a map of devices."""
    if device_map is None:
        return {"device": device_of(device)}
    if device != "auto":
        got, fix = f"device={device!r}, device_map={device_map!r}", "drop one of them"
        raise ConfigError("Invalid device: there is a device map, too.", got=got, expected="one", fix=fix)
    return {"device_map": device_map}


def build(source: Source, name: str = "", **options: Any) -> Pipeline:
    """Load the weights of a model and its processor.

    Args:
        source: of the model.
        name: of the model, for messages.
        options: of ``assemble``.
    """
    adapter = assemble(source, Vega3DAdapter, **options)
    path, revision = source.processor or str(source.config.host.path), source.config.host.revision
    options = {"revision": revision} if revision is not None and source.processor is None else {}
    processor = Vega3DProcessor.from_pretrained(path, adapter.vega3d_config, store=source.store, **options)
    return Pipeline(adapter, processor, name, trained=source.tensors is not None)


def without_weights(source: Source) -> tuple[Source, dict[str, Any]]:
    """A model on the meta device, from configs alone: its settings, and the options that build it.

    Raises:
        HostError, BackboneError, ConfigError: a part is not there, or does not fit.
    """
    config = source.config
    host = empty_host(find_host(str(config.host.path)))
    if hasattr(config.backbone, "cost") and not source.store_only:
        config = with_fields(config, channels=clip_cost(config.backbone, SIZE, 1).channels)
    source = dataclasses.replace(source, config=config, tensors=None, lora=None)
    return source, {"host": host, "backbone": None, "streams": ()}


def assemble(
    source: Source,
    kind: type[Adapter],
    *,
    host: nn.Module | None = None,
    backbone: Backbone | Literal["auto"] | None = "auto",
    streams: Sequence[Backbone] | Literal["auto"] = "auto",
    dtype: DType = "auto",
    attention: str | None = None,
    quantization: Any = None,
    device_map: Any = None,
    device: torch.device | None = None,
    seed: int | None = None,
    log: Log = _no_log,
) -> Adapter:
    """Load the parts that are not given, and put them together.

    Args:
        source: of the model.
        kind: class of the adapter.
        host: a loaded host; None loads the one that the settings name.
        backbone: a loaded backbone; ``auto`` loads the one that the settings name, None leaves it out.
        streams: the same for semantic streams; ``()`` leaves them out.
        dtype: see ``load``.
        attention: see ``load``.
        quantization: transformers' settings of a quantised host.
        device_map: transformers' devices of the host's parts; a host that is loaded with it is not moved.
        device: that the host is moved to; None leaves it where it is.
        seed: of projector and fusion, set after all else is loaded, so that they start alike whether a
            backbone is loaded or not; None leaves the random numbers alone.
        log: see ``load``.

    Raises:
        CheckpointError: the checkpoint was trained on another host, or its tensors do not fit.
    """
    config = source.config
    if host is None:
        log(f"loading host {config.host.path}")
        options = {"dtype": dtype, "attention": attention, "quantization": quantization}
        host = load_host(config.host, device_map=device_map, **options)
    elif device_map is not None or quantization is not None or attention is not None or dtype != "auto":
        title, got = "Invalid options of the host: it is loaded already.", type(host).__name__
        fix = "pass them to the host's own from_pretrained, or leave host out"
        raise ConfigError(title, got=f"{got}, with options", expected="no options beside a host", fix=fix)
    if device is not None:
        host = host.to(device)
    if backbone == "auto" and source.store_only:
        backbone = None
    elif backbone == "auto":
        log(f"loading backbone {config.backbone.path}")
        backbone = loading.load_backbone(config)
    if streams == "auto":
        for stream in config.semantic_streams:
            log(f"loading semantic stream {stream.path}")
        streams = loading.load_streams(config)
    if seed is not None:
        set_seed(seed)
    adapter = kind(host, config, backbone, streams)
    if source.tensors is not None:
        checkpoint.require_same_host(config.host, adapter.vega3d_config.host)
        checkpoint.require_same_tensors(adapter.own_state(), source.tensors)
        adapter.trained = True
        adapter.load_state_dict(dict(source.tensors), strict=False)  # the host's tensors are not in the file
        load_lora(adapter.host, source.lora)
    return adapter


def load_backbone(name: str, path: str, **settings: Any) -> Backbone:
    """Load a frozen encoder by its registered name.

    Args:
        name: ``wan``, ``siglip``, or that of a plug-in.
        path: folder or hub id of its weights, or ``pico``.
        settings: fields of its config.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    record = {"type": name, "path": path, **settings}
    return loading.load_backbone(Source(Vega3DConfig()).with_settings({"backbone": record}).config)
