"""The part of ms-swift's interface that `train/ms_swift.py` uses, as version 4.6.0 defines it.

The templates do the least that ms-swift's do: they replace a row's videos by the frames that the host is
given, encode with the host's processor, and join rows of one length. `test_ms_swift.py` compares names and
signatures with the released package.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn

FPS = 2.0  # of qwen-vl-utils

TEMPLATE_MAPPING: dict[str, Any] = {}
tuners_map: dict[str, type] = {}


class Tuner:
    """Base class of tuners."""

    @staticmethod
    def prepare_model(args: Any, model: nn.Module) -> nn.Module:
        raise NotImplementedError

    @staticmethod
    def save_pretrained(
        model: nn.Module,
        save_directory: str,
        state_dict: dict[str, Any] | None = None,
        safe_serialization: bool = True,
        **kwargs: Any,
    ) -> None:
        raise NotImplementedError

    @staticmethod
    def from_pretrained(model: nn.Module, model_id: str, **kwargs: Any) -> nn.Module:
        raise NotImplementedError


@dataclass
class Inputs:
    """Media and text of a row."""

    text: str
    images: list[Any] = field(default_factory=list)
    videos: list[Any] = field(default_factory=list)


class Qwen2VLTemplate:
    """Encodes a row and joins rows.

    Args:
        processor: of the host.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def _encode(self, inputs: Inputs) -> dict[str, Any]:
        if inputs.videos:
            inputs.videos = [video.to(torch.uint8) for video in inputs.videos]
        batch = self.processor(
            text=[inputs.text],
            images=inputs.images or None,
            videos=inputs.videos or None,
            return_tensors="pt",
            do_sample_frames=False,
            return_mm_token_type_ids=True,
        )
        row = {name: value for name, value in batch.items() if name != "attention_mask"}
        if inputs.videos:
            row["second_per_grid_ts"] = [self.processor.video_processor.temporal_patch_size / FPS]
        return row

    def _data_collator(self, batch: list[dict[str, Any]], *, padding_to: int | None = None) -> dict[str, Any]:
        names = dict.fromkeys(name for row in batch for name in row)
        return {
            name: torch.cat([torch.as_tensor(row[name]) for row in batch if name in row]) for name in names
        }

    def _post_encode(self, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError("embeds the media itself")


class Qwen2_5VLTemplate(Qwen2VLTemplate):
    """Of Qwen2.5-VL."""


class Qwen3VLTemplate(Qwen2VLTemplate):
    """Of Qwen3-VL."""


@dataclass
class QwenTemplateMeta:
    """A template with its name."""

    template_type: str
    template_cls: type = Qwen2VLTemplate


def register_template(template_meta: QwenTemplateMeta, *, exist_ok: bool = False) -> None:
    TEMPLATE_MAPPING[template_meta.template_type] = template_meta


def modules() -> dict[str, ModuleType]:
    """The modules of this interface, by the names that the plug-in imports."""
    here = sys.modules[__name__]
    names = ("swift", "swift.template", "swift.template.templates", "swift.template.templates.qwen")
    made = {name: ModuleType(name) for name in (*names, "swift.tuner_plugin")}
    for name in ("register_template", "TEMPLATE_MAPPING"):
        setattr(made["swift.template"], name, getattr(here, name))
    for name in ("Qwen2VLTemplate", "Qwen2_5VLTemplate", "Qwen3VLTemplate", "QwenTemplateMeta"):
        setattr(made["swift.template.templates.qwen"], name, getattr(here, name))
    for name in ("Tuner", "tuners_map"):
        setattr(made["swift.tuner_plugin"], name, getattr(here, name))
    return made
