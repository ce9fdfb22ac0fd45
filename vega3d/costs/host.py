"""Cost of a clip in the host: its tokens, and the operations of its vision tower and of its prefill.

Operations are counted on the host's own linear layers, two for each multiply-add, and on the lengths over
which each layer attends. That works for every family; only windows of a vision tower are read from its
config. Norms, activations and positions are left out. Causal attention counts as full attention, as in
torch's own counter.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from torch import nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from vega3d.costs.setup import MAX_PIXELS, Medium
from vega3d.errors import InputError
from vega3d.hosts import family_of

MIN_PIXELS = {"video": 128 * 28 * 28, "images": 4 * 28 * 28}  # defaults of the processors


@dataclass(frozen=True)
class HostClip:
    """Patches and tokens of a clip in the host.

    Attributes:
        steps: number of time steps.
        rows: number of patches from top to bottom of one step.
        columns: number of patches from left to right of one step.
        merge: number of patches on one side of a token.
        text: number of tokens of the prompt around the clip.
    """

    steps: int
    rows: int
    columns: int
    merge: int
    text: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens on one step."""
        return self.rows // self.merge, self.columns // self.merge

    @property
    def visual_tokens(self) -> int:
        """Tokens of all steps."""
        return self.steps * self.grid[0] * self.grid[1]


def host_clip(
    host: Any,
    height: int,
    width: int,
    frames: int,
    *,
    medium: Medium = "video",
    text: int = 64,
    max_pixels: int = MAX_PIXELS,
) -> HostClip:
    """Count the patches and tokens of a clip.

    Args:
        host: on any device.
        height: of a decoded frame, in pixels.
        width: of a decoded frame, in pixels.
        frames: number of frames that the host gets.
        medium: one video, whose frames share time steps, or so many images.
        text: number of tokens of the prompt.
        max_pixels: largest area of a frame after the resize of the host's processor, in pixels.

    Raises:
        InputError: the host's processor refuses a picture of that shape.
    """
    vision = host.config.vision_config
    merge = int(vision.spatial_merge_size)
    low = min(MIN_PIXELS[medium], max_pixels)
    sides = _resized(height, width, vision.patch_size * merge, low, max_pixels)
    together = family_of(host).temporal_patch(host.config) if medium == "video" else 1
    rows, columns = (side // vision.patch_size for side in sides)
    return HostClip(-(-frames // together), rows, columns, merge, text)


def _resized(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    try:
        sides: tuple[int, int] = smart_resize(height, width, factor, low, high)
    except ValueError as error:
        raise InputError(
            f"Invalid picture of {width} x {height} pixels: the host's processor refuses its shape.",
            got=f"{width} x {height} pixels: {error}",
            expected="the longer side at most 200 times the shorter one",
            fix="name the size of the decoded video, width first",
        ) from error
    return sides


def vision_flops(host: Any, clip: HostClip) -> float:
    """Operations of the vision tower with its merger on one clip."""
    tower: Any = family_of(host).vision_tower(host)
    patches = clip.steps * clip.rows * clip.columns
    total = 2.0 * patches * _weights(tower.patch_embed)
    vision = host.config.vision_config
    windowed = set(range(len(tower.blocks))) - set(
        getattr(vision, "fullatt_block_indexes", range(len(tower.blocks)))
    )
    for number, block in enumerate(tower.blocks):
        attended = _window_pairs(vision, clip) if number in windowed else (clip.rows * clip.columns) ** 2
        total += 2.0 * patches * _weights(block) + 4.0 * clip.steps * attended * block.attn.proj.in_features
    mergers = [child for name, child in tower.named_children() if "merger" in name]
    return float(total + 2.0 * clip.visual_tokens * sum(map(_weights, mergers)))


def _window_pairs(vision: Any, clip: HostClip) -> int:
    """Number of pairs of patches of one step that attend to each other within windows."""
    side = vision.window_size // vision.spatial_merge_size // vision.patch_size  # in tokens
    heights, widths = (_tiles(tokens, side) for tokens in clip.grid)
    return sum((clip.merge**2 * high * wide) ** 2 for high, wide in itertools.product(heights, widths))


def _tiles(length: int, side: int) -> list[int]:
    return [min(side, length - first) for first in range(0, length, side)]


def prefill_flops(host: Any, clip: HostClip) -> float:
    """Operations of the language model on the whole prompt, up to the first new token."""
    text = host.config.get_text_config()
    language_model: Any = family_of(host).language_model(host)
    length, layers = clip.visual_tokens + clip.text, language_model.layers
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    attended = 4.0 * length**2 * text.num_attention_heads * head
    last = 2.0 * _weights(host.lm_head)  # of the last position alone
    return float(len(layers) * attended + 2.0 * length * _weights(layers) + last)


def _weights(module: nn.Module) -> int:
    """Multiply-adds of a module for each row of its input."""
    kinds = (nn.Linear, nn.Conv3d)
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))
