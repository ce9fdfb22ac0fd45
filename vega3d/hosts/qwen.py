"""The Qwen-VL family: Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

All three cut a picture into patches, merge 2 x 2 patches into one token (raster order after the
merger), and put ``temporal_patch_size`` frames of a video into one time step, repeating the last frame
when the number is odd. An image is one time step of one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vega3d.errors import InputError
from vega3d.grid import TokenGrid
from vega3d.hosts import Modality


class QwenVL:
    """The Qwen-VL family, see ``vega3d.hosts.HostFamily``."""

    lora_targets = (
        r".*model\.language_model\.layers\.\d+\.(self_attn|mlp)\."
        r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    )

    def width(self, config: Any) -> int:
        """D, the width of the language model's tokens."""
        return int(config.get_text_config().hidden_size)

    def language_model(self, host: Any) -> nn.Module:
        """The language model without its head."""
        model: nn.Module = host.model.language_model
        return model

    def vision_tower(self, host: Any) -> nn.Module:
        """The vision tower with its merger."""
        tower: nn.Module = host.model.visual
        return tower

    def temporal_patch(self, config: Any) -> int:
        """Frames of a video that share one time step of tokens: 2 in all published models."""
        return int(config.vision_config.temporal_patch_size)

    def grids(
        self, config: Any, modality: Modality, grid_thw: Tensor, frames: Sequence[int]
    ) -> list[TokenGrid]:
        """Token grids of all images or videos of a batch.

        Args:
            config: the host's configuration.
            modality: ``image`` or ``video``.
            grid_thw: (n, 3) time steps, and rows and columns of *patches*, as the host's processor gives.
            frames: number of frames of each item; 1 for an image.

        Raises:
            InputError: the number of frames of an item does not match its time steps.
        """
        merge, patch = int(config.vision_config.spatial_merge_size), self.temporal_patch(config)
        grids = []
        for (steps, rows, columns), count in zip(grid_thw.tolist(), frames, strict=True):
            groups = _groups(count, 1 if modality == "image" else patch)
            if len(groups) != steps:
                raise InputError(
                    f"Invalid {modality}: {count} generator frames but {steps} host time steps.",
                    got=f"{count} frames, {steps} time steps of {patch} frames",
                    expected=f"between {(steps - 1) * patch + 1} and {steps * patch} frames",
                    fix="pass both sides as Vega3DProcessor returned them",
                )
            grids.append(TokenGrid(groups, rows // merge, columns // merge, cells=merge))
        return grids

    def encode(self, host: Any, modality: Modality, pixels: Tensor, grid_thw: Tensor) -> Any:
        """Call the host's own ``get_image_features`` or ``get_video_features``."""
        call = host.get_image_features if modality == "image" else host.get_video_features
        return call(pixels, grid_thw, return_dict=True)

    def token_types(self, config: Any, input_ids: Tensor) -> Tensor:
        """``mm_token_type_ids`` of (B, L) token ids: 1 at image tokens, 2 at video tokens, else 0."""
        types = torch.zeros_like(input_ids)
        types[input_ids == config.image_token_id] = 1
        types[input_ids == config.video_token_id] = 2
        return types


def _groups(frames: int, patch: int) -> tuple[tuple[int, ...], ...]:
    """Frames of each time step; an incomplete last step repeats the last frame."""
    last = frames - 1
    return tuple(
        tuple(min(frame, last) for frame in range(first, first + patch)) for first in range(0, frames, patch)
    )
