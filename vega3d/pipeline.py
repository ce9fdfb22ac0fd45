"""Load a model by name and ask it about a video.

    pipeline = vega3d.load("pico")
    print(pipeline.ask("room.mp4", "How many chairs are there?").text)

A model is named by ``pico`` (shipped inside this package), a checkpoint of ours, or a plain host; a backbone
by ``pico`` or the path of its weights.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import set_seed

from vega3d import checkpoint
from vega3d._utils import moved
from vega3d.adapter import Vega3DAdapter
from vega3d.backbones import Backbone, loading
from vega3d.backbones.base import clip_cost
from vega3d.checkpoint.lora import Lora, load_lora
from vega3d.checkpoint.record import with_pico
from vega3d.config import Vega3DConfig
from vega3d.errors import ConfigError
from vega3d.fusion.encode import Encoding, unique_names
from vega3d.hosts.empty import empty_host, find_host
from vega3d.hosts.loading import Device, DType, device_of, load_host
from vega3d.media.frame_plan import FramePlan
from vega3d.pico import PICO
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureStore

NONE = "none"
FRAMES = 8
SIZE = (480, 640)  # height and width of a frame, where any will do
PICO_PIXELS = 128 * 128  # the size of the frames that pico's Wan was trained on
Log = Callable[[str], None]
Adapter = TypeVar("Adapter", bound=Vega3DAdapter)
_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "second_per_grid_ts")


def _no_log(text: str) -> None:
    del text


@dataclass(frozen=True)
class Answer:
    """An answer, with the encoding and the frames that it was made from.

    Attributes:
        text: the generated text.
        encoding: fused media, with gate and contribution of every token.
        frames: (T, 3, H, W) uint8, the decoded frames for the generator; T = 0 with stored features.
        plan: the frames of ``frames`` that belong to each frame of the host.
    """

    text: str
    encoding: Encoding
    frames: Tensor
    plan: FramePlan


@dataclass(frozen=True)
class Pipeline:
    """A wrapped model with its processor.

    Attributes:
        adapter: host, projector, fusion and backbone.
        processor: prepares both sides of a batch.
        name: the name under which the model was loaded.
        trained: True if projector and fusion come from a checkpoint; otherwise they are the identity.
    """

    adapter: Vega3DAdapter
    processor: Vega3DProcessor
    name: str
    trained: bool

    def ask(
        self, video: str | Path, question: str, *, nframes: int = FRAMES, max_new_tokens: int = 64
    ) -> Answer:
        """Answer one question about one video, greedily.

        Args:
            video: path of the video.
            question: free text.
            nframes: number of frames for the host, evenly spaced.
            max_new_tokens: upper limit of the answer's length.
        """
        inputs = self.prepare(video, question, nframes)
        seen = self._seen(inputs)
        text = {name: value for name, value in inputs.items() if name in _TEXT}
        with torch.no_grad():
            tokens = self.adapter.generate(
                encoding=seen.encoding, **text, max_new_tokens=max_new_tokens, do_sample=False
            )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        answer = self.processor.batch_decode(new, skip_special_tokens=True)[0].strip()
        return dataclasses.replace(seen, text=answer)

    def look(self, video: str | Path, *, nframes: int = FRAMES) -> Answer:
        """Encode a video without a question; the answer's text is empty."""
        return self._seen(self.prepare(video, "", nframes))

    def encode(self, video: str | Path, *, nframes: int = FRAMES) -> Encoding:
        """The fused tokens of a video, with gate and contribution."""
        return self.look(video, nframes=nframes).encoding

    def prepare(self, video: str | Path, question: str, nframes: int) -> dict[str, Any]:
        """One question about one video as a batch on the model's device."""
        content = [
            {"type": "video", "video": str(video), "nframes": nframes},
            {"type": "text", "text": question},
        ]
        inputs = self.processor.apply_chat_template([{"role": "user", "content": content}])
        return dict(inputs.to(self.adapter.device))

    def _seen(self, inputs: dict[str, Any]) -> Answer:
        with torch.no_grad():
            encoding = self.adapter.encode(**inputs)
        (clip,) = inputs["generative_clips"]
        return Answer("", encoding, clip.frames, clip.plan)

    @property
    def model(self) -> Vega3DAdapter:
        """``adapter``, by its name in version 0.1."""
        moved.warn("Assistant.model", "Pipeline.adapter")
        return self.adapter

    @classmethod
    def load(cls, *args: Any, say: Log = _no_log, **settings: Any) -> Pipeline:
        """``vega3d.load``, as version 0.1 has it."""
        moved.warn("vega3d.assistant.Assistant.load", "vega3d.load")
        return load(*args, log=say, **settings)


def attention_of(adapter: Vega3DAdapter) -> dict[str, str]:
    """The attention back end that each part really uses: host, backbone, and further streams by name."""
    host = getattr(adapter.config, "_attn_implementation", None) or "eager"
    names = unique_names(["host", "backbone", *(stream.spec.name for stream in adapter.streams)])
    used = (getattr(encoder, "attention", "unknown") for encoder in (adapter.backbone, *adapter.streams))
    return dict(zip(names, (str(host), *used), strict=True))


# ---------------------------------------------------------------- names to settings


@dataclass(frozen=True)
class Source:
    """A model before its weights are loaded.

    Attributes:
        config: settings of the wrapped model.
        tensors: projector and fusion of a checkpoint; None starts as the identity.
        lora: of a checkpoint's host; None if there is none.
        store: stored features.
        store_only: no backbone is loaded; all features must be stored.
    """

    config: Vega3DConfig
    tensors: Mapping[str, Tensor] | None = None
    lora: Lora | None = None
    store: FeatureStore | None = None
    store_only: bool = False

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
        return dataclasses.replace(self, config=config)

    def with_store(self, store: FeatureStore | None, *, only: bool = False) -> Source:
        """Read features from a store; with ``only`` it also gives the width of the features."""
        config = self.config
        if only and store is not None:
            config = _with_fields(config, channels=store.backbone["channels"])
        return dataclasses.replace(self, config=config, store=store, store_only=only)


def _with_fields(config: Vega3DConfig, **fields: Any) -> Vega3DConfig:
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
    return Source(read.config, read.tensors, read.lora())


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
        return _with_fields(changed, pixels=PICO_PIXELS)
    return changed


# ---------------------------------------------------------------- settings to a model


def load(
    model: str = PICO,
    backbone: str | None = None,
    *,
    store: str | Path | None = None,
    dtype: DType = "auto",
    attention: str | None = None,
    device: Device = "auto",
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
        log: called with one line before each slow step.

    Raises:
        ConfigError: a plain host without a backbone, or neither backbone nor store.
        CheckpointError: the checkpoint is damaged, or belongs to another host.
    """
    source = find(model, backbone, FeatureStore(store) if store is not None else None)
    options = {"dtype": dtype, "attention": attention, "device": device_of(device), "log": log}
    if device == "meta":
        source, options = without_weights(source)
    pipeline = build(source, model, **options)
    pipeline.adapter.eval()
    return pipeline


def build(source: Source, name: str = "", **options: Any) -> Pipeline:
    """Load the weights of a model and its processor.

    Args:
        source: of the model.
        name: of the model, for messages.
        options: of ``assemble``.
    """
    adapter = assemble(source, Vega3DAdapter, **options)
    path = str(source.config.host.path)
    processor = Vega3DProcessor.from_pretrained(path, adapter.vega3d_config, store=source.store)
    return Pipeline(adapter, processor, name, trained=source.tensors is not None)


def without_weights(source: Source) -> tuple[Source, dict[str, Any]]:
    """A model on the meta device, from configs alone: its settings, and the options that build it.

    Raises:
        HostError, BackboneError, ConfigError: a part is not there, or does not fit.
    """
    config = source.config
    host = empty_host(find_host(str(config.host.path)))
    if hasattr(config.backbone, "cost") and not source.store_only:
        config = _with_fields(config, channels=clip_cost(config.backbone, SIZE, 1).channels)
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
        host = load_host(config.host, dtype=dtype, attention=attention, quantization=quantization)
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


__getattr__ = moved.names(__name__, {"Assistant": "vega3d.pipeline:Pipeline"})
