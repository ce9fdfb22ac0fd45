"""vega3d inside ms-swift: a tuner and templates, for `swift sft --external_plugins train/ms_swift.py`.

The host is ms-swift's own, unchanged. The tuner puts the adapter around it and LoRA around both. The template
hands the adapter what the generator needs: the frames that the host was given. Checkpoints are ordinary ones
of vega3d. docs/ms_swift.md has the command and the limits.

``VEGA3D_BACKBONE`` is the folder or hub id of the generator, Wan2.1 1.3B without it. ``VEGA3D_SETTINGS``
holds fields of its config, as ``block=20 sigma=0.3``.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import torch
from swift.template import register_template
from swift.template.templates.qwen import (
    Qwen2_5VLTemplate,
    Qwen2VLTemplate,
    Qwen3VLTemplate,
    QwenTemplateMeta,
)
from swift.tuner_plugin import Tuner, tuners_map
from torch import Tensor, nn

from vega3d import Vega3DAdapter, Vega3DConfig, pipeline
from vega3d.inputs.clip import Clip, clips_from_tensors
from vega3d.media.frame_plan import frame_plan
from vega3d.media.image import load_image
from vega3d.settings import apply_overrides
from vega3d.training.config import LoraSettings
from vega3d.training.recipes import with_lora
from vega3d.training.trained import read_trained, write_trained

NAME = "vega3d"
WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
OF_SWIFT = ("model_info", "model_meta", "model_dir")  # attributes that ms-swift reads from a model
PICTURES, VIDEOS = "vega3d_pictures", "vega3d_videos"


class Vega3DTuner(Tuner):
    """The adapter around a registered host, with LoRA on its language model."""

    @staticmethod
    def prepare_model(args: Any, model: nn.Module) -> nn.Module:
        """Wrap a host: projector and fusion start as the identity."""
        settings = LoraSettings(args.lora_rank, args.lora_alpha, args.lora_dropout)
        return _tuned(_source(), model, settings)

    @staticmethod
    def save_pretrained(
        model: nn.Module,
        save_directory: str,
        state_dict: dict[str, Tensor] | None = None,
        safe_serialization: bool = True,
        **kwargs: Any,
    ) -> None:
        """Write a vega3d checkpoint: projector, fusion and LoRA."""
        del safe_serialization, kwargs  # always safetensors
        write_trained(save_directory, model, state_dict)

    @staticmethod
    def from_pretrained(model: nn.Module, model_id: str, **kwargs: Any) -> nn.Module:
        """Wrap a host with the tensors of a checkpoint, to train on or to answer."""
        source = pipeline.saved(model_id, given=True)
        saved = {} if source.lora is None else source.lora.settings
        targets = saved.get("target_modules")
        settings = LoraSettings(
            saved.get("r", 64),
            saved.get("lora_alpha", 64),
            saved.get("lora_dropout", 0.0),
            targets if isinstance(targets, str) or targets is None else tuple(targets),
        )
        tuned = _tuned(pipeline.Source(source.config), model, settings)
        read_trained(model_id, tuned)
        return tuned.train(kwargs.get("is_trainable", False))


def _source() -> pipeline.Source:
    """The settings of a new model: the generator that the environment names."""
    backbone: dict[str, Any] = {"path": os.environ.get("VEGA3D_BACKBONE", WAN)}
    backbone = apply_overrides(backbone, os.environ.get("VEGA3D_SETTINGS", "").split())
    return pipeline.Source(Vega3DConfig()).with_settings({"backbone": backbone})


def _tuned(source: pipeline.Source, host: nn.Module, settings: LoraSettings) -> nn.Module:
    """The adapter around a host, and LoRA around both; ms-swift's notes on the host stay readable."""
    adapter = pipeline.assemble(source, Vega3DAdapter, host=host)
    GenerativeFrames.backbone = adapter.vega3d_config.backbone
    if adapter.backbone is not None and hasattr(adapter.backbone, "to"):
        adapter.backbone.to(adapter.device)
    for name in OF_SWIFT:
        if hasattr(host, name):
            setattr(adapter, name, getattr(host, name))
    return with_lora(adapter, settings)


class GenerativeFrames:
    """A mix-in for templates: rows keep their decoded frames, and batches get ``generative_clips``.

    Attributes:
        backbone: settings of the generator, which plan its frames. The tuner sets them before data workers
            start, because a worker's template has no model; None takes the environment's.
    """

    backbone: ClassVar[Any] = None

    def _encode(self, inputs: Any) -> dict[str, Any]:
        """A row; the pictures are those of the files, the videos those that the host was given."""
        pictures = list(inputs.images)
        encoded: dict[str, Any] = super()._encode(inputs)  # type: ignore[misc]
        encoded[PICTURES] = [load_image(picture) for picture in pictures]
        encoded[VIDEOS] = [_frames(video) for video in inputs.videos]
        return encoded

    def _data_collator(self, batch: list[dict[str, Any]], *, padding_to: int | None = None) -> dict[str, Any]:
        """A batch; the clips come last, since accelerate takes the batch size from the first key."""
        pictures, videos = (
            [frames for row in batch for frames in row.pop(key, ())] for key in (PICTURES, VIDEOS)
        )
        collated: dict[str, Any] = super()._data_collator(batch, padding_to=padding_to)  # type: ignore[misc]
        clips = self._clips(pictures, videos)
        return {**collated, "generative_clips": clips} if clips else collated

    def _clips(self, pictures: list[Tensor], videos: list[Tensor]) -> list[Clip]:
        if not pictures and not videos:
            return []
        backbone = self.backbone or _source().config.backbone
        return clips_from_tensors(lambda host: frame_plan(backbone, host), pictures, videos)

    def _post_encode(self, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as they are: the adapter encodes the media, not the template."""
        return inputs


def _frames(video: Any) -> Tensor:
    """(T, 3, H, W) uint8 of what qwen-vl-utils sampled: a tensor, or a list of pictures."""
    if isinstance(video, Tensor):
        return video.round().clamp(0, 255).to(torch.uint8)
    return torch.stack([load_image(frame) for frame in video])


def _register(host: str, template: type) -> None:
    cls = type(f"Vega3D{template.__name__}", (GenerativeFrames, template), {})
    register_template(QwenTemplateMeta(f"{NAME}_{host}", template_cls=cls))


tuners_map[NAME] = Vega3DTuner
for _host, _template in (
    ("qwen2_vl", Qwen2VLTemplate),
    ("qwen2_5_vl", Qwen2_5VLTemplate),
    ("qwen3_vl", Qwen3VLTemplate),
):
    _register(_host, _template)
