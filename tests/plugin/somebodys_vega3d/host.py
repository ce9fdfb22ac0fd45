"""A host whose type vega3d does not know: a Qwen2.5-VL under another name, described from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from vega3d.grid import TokenGrid
from vega3d.hosts import HostFamily, Modality


class SomebodysConfig(Qwen2_5_VLConfig):
    """Its configuration."""

    model_type = "somebodys_vl"


class SomebodysVL(Qwen2_5_VLForConditionalGeneration):
    """Its model."""

    config_class = SomebodysConfig


AutoConfig.register("somebodys_vl", SomebodysConfig)
AutoModelForImageTextToText.register(SomebodysConfig, SomebodysVL)


class SomebodysFamily(HostFamily):
    """Its description for vega3d."""

    lora_targets = r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)"

    def width(self, config: Any) -> int:
        """D of the language model."""
        return int(config.text_config.hidden_size)

    def language_model(self, host: Any) -> nn.Module:
        """The part that is trained."""
        model: nn.Module = host.model.language_model
        return model

    def vision_tower(self, host: Any) -> nn.Module:
        """The part that is frozen."""
        tower: nn.Module = host.model.visual
        return tower

    def temporal_patch(self, config: Any) -> int:
        """Frames in one time step."""
        return 2

    def grids(
        self, config: Any, modality: Modality, grid_thw: Tensor, frames: Sequence[int]
    ) -> list[TokenGrid]:
        """Pairs of frames, tokens of 2 x 2 patches."""
        found = []
        for (steps, rows, columns), count in zip(grid_thw.tolist(), frames, strict=True):
            groups = [(min(2 * step, count - 1), min(2 * step + 1, count - 1)) for step in range(steps)]
            groups = groups if modality == "video" else [(0,)]
            found.append(TokenGrid(tuple(groups), rows // 2, columns // 2, cells=2))
        return found

    def encode(self, host: Any, modality: Modality, pixels: Tensor, grid_thw: Tensor) -> Any:
        """The host's own features."""
        call = host.get_image_features if modality == "image" else host.get_video_features
        return call(pixels, grid_thw, return_dict=True)

    def token_types(self, config: Any, input_ids: Tensor) -> Tensor:
        """1 at image tokens, 2 at video tokens."""
        return torch.where(input_ids == config.image_token_id, 1, 0) + torch.where(
            input_ids == config.video_token_id, 2, 0
        )
