"""The Qwen-VL family: Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

All three cut a picture into patches, merge 2 x 2 patches into one token (raster order after the
merger), and put ``temporal_patch_size`` frames of a video into one time step, repeating the last frame
when the number is odd. An image is one time step of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from vega3d.errors import InputError
from vega3d.grid import TokenGrid
from vega3d.hosts.base import HostFamily, Modality

if TYPE_CHECKING:
    from vega3d.inputs.messages import Limits

VIDEO_DEFAULTS: Mapping[str, Any] = {
    "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
    "image_mean": OPENAI_CLIP_MEAN,
    "image_std": OPENAI_CLIP_STD,
    "do_sample_frames": False,
    "patch_size": 14,
    "max_video_tokens": 128_000,
}


class QwenVL(HostFamily):
    """Qwen2.5-VL."""

    max_aspect = 200
    video_processor = "Qwen2VLVideoProcessor"
    video_defaults = VIDEO_DEFAULTS
    min_pixels: Mapping[Modality, int] = {"image": 4 * 28 * 28, "video": 128 * 28 * 28}
    lora_targets = (
        r".*model\.language_model\.layers\.\d+\.(self_attn|mlp)\."
        r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    )

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
                title = f"Invalid {modality}: {count} generator frames but {steps} host time steps."
                expected = f"between {(steps - 1) * patch + 1} and {steps * patch} frames"
                fix = "pass both sides as Vega3DProcessor returned them"
                raise InputError(title, got=f"{count} frames", expected=expected, fix=fix)
            grids.append(TokenGrid(groups, rows // merge, columns // merge, cells=merge))
        return grids


class Qwen2VL(QwenVL):
    """Qwen2-VL, whose positions count time steps."""

    needs_times = False


class Qwen3VL(QwenVL):
    """Qwen3-VL, whose video processor's ``size`` bounds all frames of a clip together."""

    video_processor = "Qwen3VLVideoProcessor"
    video_defaults: Mapping[str, Any] = {
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
        "image_mean": IMAGENET_STANDARD_MEAN,
        "image_std": IMAGENET_STANDARD_STD,
        "do_sample_frames": True,
        "patch_size": 16,
        "max_video_tokens": 768,
    }

    def video_size(self, size: Mapping[str, int], limits: Limits, frames: int, merged: int) -> dict[str, Any]:
        """Keywords of the video processor: areas of one frame, multiplied out to the clip."""
        low = limits.min_pixels * frames if limits.min_pixels else size["shortest_edge"]
        high = limits.max_pixels * frames if limits.max_pixels else size["longest_edge"]
        if limits.total_pixels is not None:
            high = max(min(high, limits.total_pixels * merged), int(low * 1.05))
        bounds = {"shortest_edge": min(low, high), "longest_edge": high}
        return {"size": bounds, "cap_pixels_per_frame": False}

    def fitted_video(
        self, shape: tuple[int, int, int], factor: int, merged: int, area: tuple[int, int], tokens: int | None
    ) -> tuple[int, int]:
        """Height and width of a video's frames; ``area`` bounds all of them together."""
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import (
            smart_resize,
        )  # needs no torchvision

        (frames, height, width), (low, high) = shape, area
        if tokens is not None:
            high = frames * max(min(tokens * factor**2, high // frames), int(low * 1.05))
        rows, columns = smart_resize(frames, height, width, merged, factor, low, high)
        return rows, columns


def _groups(frames: int, patch: int) -> tuple[tuple[int, ...], ...]:
    """Frames of each time step; an incomplete last step repeats the last frame."""
    last = frames - 1
    return tuple(
        tuple(min(frame, last) for frame in range(first, first + patch)) for first in range(0, frames, patch)
    )
