"""Load a model by name and ask it about a video: what the command line and the examples share.

A model is named by ``pico`` (shipped inside this package), a checkpoint of ours, or a plain host; a
backbone by ``pico`` or the path of a Wan. This module only puts the parts together; it computes nothing.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import vega3d._torchvision  # noqa: F401  (before transformers)
from vega3d import checkpoint
from vega3d.adapter import Encoding, Vega3DAdapter, load_backbone, load_host, load_streams
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import ConfigError
from vega3d.fusion.encode import unique_names
from vega3d.lora import load_lora
from vega3d.pico import PICO, pico_path
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureStore
from vega3d.video import FramePlan

NONE = "none"
FRAMES = 8
Say = Callable[[str], None]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Answer:
    """An answer, and what it was made from.

    Attributes:
        text: the generated text.
        encoding: fused media, with gate and contribution of every token.
        frames: (T, 3, H, W) uint8, the decoded frames that the generator saw; T = 0 with stored features.
        plan: how they belong to the host's frames.
    """

    text: str
    encoding: Encoding
    frames: torch.Tensor
    plan: FramePlan


@dataclass(frozen=True)
class Assistant:
    """A wrapped model with its processor.

    Attributes:
        model: host, projector, fusion and backbone.
        processor: prepares both sides of a batch.
        name: how the model was asked for.
        trained: whether projector and fusion come from a checkpoint; otherwise they are the identity.
    """

    model: Vega3DAdapter
    processor: Vega3DProcessor
    name: str
    trained: bool

    @classmethod
    def load(
        cls,
        model: str = PICO,
        backbone: str | None = None,
        *,
        store: str | Path | None = None,
        device: Device = "auto",
        say: Say = lambda text: None,
    ) -> Assistant:
        """Load host, backbone and, if there are any, semantic streams, trained projector and fusion.

        Args:
            model: ``pico``, a folder or hub id of one of our checkpoints, or of a plain host.
            backbone: ``pico``, or a folder or hub id of a Wan; None takes the one that the
                checkpoint names, and pico's for pico; ``none`` loads none: all features must be stored.
            store: folder of stored features.
            device: where the model runs; ``auto`` takes a GPU if there is one.
            say: called with one line before each slow step.

        Raises:
            ConfigError: a plain host is asked for without a backbone.
        """
        saved, kept = _load_saved(model), FeatureStore(store) if store is not None else None
        named = None if backbone == NONE else backbone
        if kept is not None and named is None and not saved and model != PICO:
            named = str(kept.backbone["path"])
        config, tensors = saved if saved else (_fresh_config(model, named), None)
        if saved:
            checkpoint.require_own_host(model, config)
        if saved and named is not None:
            config = with_backbone(config, named)
        if backbone == NONE:
            config = _without_backbone(config, kept)
        say(f"loading host {config.host.path}")
        host = load_host(config.host).to(device_of(device)).eval()
        if backbone != NONE:
            say(f"loading backbone {config.backbone.path}")
        generator = load_backbone(config) if backbone != NONE else None
        for stream in config.semantic_streams:
            say(f"loading semantic stream {stream.path}")
        adapter = Vega3DAdapter(host, config, generator, load_streams(config)).eval()
        if tensors is not None:
            checkpoint.require_same_host(config.host, adapter.vega3d_config.host)
            checkpoint.require_same_tensors(adapter.own_state(), tensors)
            adapter.load_state_dict(tensors, strict=False)
            load_lora(adapter.host, checkpoint.lora_of(model))
        path = str(config.host.path)
        processor = Vega3DProcessor.from_pretrained(path, adapter.vega3d_config, store=kept)
        return cls(adapter, processor, model, trained=tensors is not None)

    def ask(
        self, video: str | Path, question: str, *, nframes: int = FRAMES, max_new_tokens: int = 64
    ) -> Answer:
        """Answer one question about one video, greedily.

        Args:
            video: path of the video.
            question: free text.
            nframes: frames that the host sees, evenly spaced.
            max_new_tokens: upper limit of the answer's length.
        """
        inputs = self.prepare(video, question, nframes)
        encoding = self.model.encode(**inputs)
        text = {name: value for name, value in inputs.items() if name in _TEXT}
        with torch.no_grad():
            tokens = self.model.generate(
                encoding=encoding, **text, max_new_tokens=max_new_tokens, do_sample=False
            )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        answer = self.processor.batch_decode(new, skip_special_tokens=True)[0].strip()
        (clip,) = inputs["generative_clips"]
        return Answer(answer, encoding, clip.frames, clip.plan)

    def look(self, video: str | Path, *, nframes: int = FRAMES) -> Answer:
        """Encode a video without asking anything; the answer's text is empty."""
        inputs = self.prepare(video, "", nframes)
        with torch.no_grad():
            encoding = self.model.encode(**inputs)
        (clip,) = inputs["generative_clips"]
        return Answer("", encoding, clip.frames, clip.plan)

    def prepare(self, video: str | Path, question: str, nframes: int) -> dict[str, Any]:
        """One question about one video as a batch on the model's device."""
        content = [
            {"type": "video", "video": str(video), "nframes": nframes},
            {"type": "text", "text": question},
        ]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
        return dict(inputs.to(self.model.device))


_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "second_per_grid_ts")


def attention_of(model: Vega3DAdapter) -> dict[str, str]:
    """The attention back end that each part really uses: host, backbone, and further streams by name."""
    host = getattr(model.config, "_attn_implementation", None) or "eager"
    names = unique_names(["host", "backbone", *(stream.spec.name for stream in model.streams)])
    used = (getattr(encoder, "attention", "unknown") for encoder in (model.backbone, *model.streams))
    return dict(zip(names, (str(host), *used), strict=True))


def _load_saved(model: str) -> tuple[Vega3DConfig, dict[str, torch.Tensor]] | None:
    """The checkpoint if ``model`` is one of ours, else None: then it is a plain host."""
    return checkpoint.load(model) if model != PICO and checkpoint.is_ours(model) else None


def _fresh_config(model: str, backbone: str | None) -> Vega3DConfig:
    if model != PICO and backbone is None:
        raise ConfigError(
            f"{model!r} is a plain host, and no backbone is given.",
            got="--backbone is missing",
            expected="the folder or hub id of a Wan",
            fix="pass --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or a vega3d checkpoint as --model",
        )
    config = Vega3DConfig(host=HostConfig(path=str(pico_path("host")) if model == PICO else model))
    return with_backbone(config, backbone or PICO)


def _without_backbone(config: Vega3DConfig, store: FeatureStore | None) -> Vega3DConfig:
    """The generator's width has to be known without it: the store's settings have it."""
    if store is None:
        raise ConfigError(
            "Without a backbone there are no features.",
            got=f"--backbone {NONE} without --store",
            expected="a store of features",
            fix="pass --store, or a backbone",
        )
    settings = dataclasses.replace(config.backbone, channels=store.backbone["channels"])
    return dataclasses.replace(config, backbone=settings)


def with_backbone(config: Vega3DConfig, backbone: str) -> Vega3DConfig:
    """A config whose generator is ``pico``, or the Wan in a folder or hub repository."""
    path = str(pico_path("wan")) if backbone == PICO else backbone
    settings = dataclasses.replace(config.backbone, path=path, revision=None)
    if backbone == PICO and settings.pixels > PICO_PIXELS:
        settings = dataclasses.replace(settings, pixels=PICO_PIXELS)
    return dataclasses.replace(config, backbone=settings)


PICO_PIXELS = 128 * 128  # the size of the frames that pico's Wan was trained on


def device_of(name: Device) -> torch.device:
    """The device that a name means; ``auto`` takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        warnings.warn("--device cuda: torch sees no GPU, so the CPU is used.", stacklevel=2)
        return torch.device("cpu")
    return torch.device(name)
