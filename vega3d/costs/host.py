"""The host of an estimate: its parameters, its tokens of a clip, and its operations on them.

Parameters are counted on the real classes on the meta device, so nothing is allocated, and counts follow
changes of a class. LoRA is counted on the layers in ``lora_targets`` of the host's family, without PEFT.

Operations are counted on the host's own linear layers, two for each multiply-add, and on the lengths over
which each layer attends. That works for every family; only windows of a vision tower are read from its
config. Norms, activations and positions are left out. Causal attention counts as full attention, as in
torch's own counter.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from torch import nn

from vega3d.backbones.base import Part
from vega3d.costs.setup import Setup
from vega3d.errors import InputError
from vega3d.hosts.base import family_of


def host_parts(host: Any) -> tuple[Part, Part]:
    """Count the language model with embeddings and head, and the vision tower with its merger."""
    whole, vision = Part.of("host", host), Part.of("vision tower", family_of(host).vision_tower(host))
    rest = (whole.parameters - vision.parameters, whole.size - vision.size)
    return Part("language model", *rest), vision  # embeddings and head may be one tensor


def lora_parameters(host: Any, rank: int) -> int:
    """Count the parameters of LoRA on the targets of the host's family: seven linear layers in each block."""
    pattern = re.compile(family_of(host).lora_targets)
    named = (module for name, module in host.named_modules() if pattern.fullmatch(name))
    targets = [module for module in named if isinstance(module, nn.Linear)]
    return sum(rank * (module.in_features + module.out_features) for module in targets)


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


def host_clip(host: Any, setup: Setup, frames: int) -> HostClip:
    """Count the patches and tokens of a clip.

    Args:
        host: on any device.
        setup: sizes; one video's frames share time steps, those of so many images do not.
        frames: number of frames that the host gets.

    Raises:
        InputError: the host's processor refuses a picture of that shape.
    """
    family, vision, (width, height) = family_of(host), host.config.vision_config, setup.size
    lowest = family.min_pixels["video" if setup.medium == "video" else "image"]
    merge, limits = int(vision.spatial_merge_size), (min(lowest, setup.max_pixels), setup.max_pixels)
    try:
        sides = family.fitted_size((height, width), vision.patch_size * merge, *limits)
    except ValueError as error:
        title, got = f"Invalid picture of {width} x {height} pixels.", f"refused by the host: {error}"
        expected = f"the longer side at most {family.max_aspect:g} times the shorter one"
        fix = "name the size of the decoded video, width first"
        raise InputError(title, got=got, expected=expected, fix=fix) from error
    together = family.temporal_patch(host.config) if setup.medium == "video" else 1
    rows, columns = (side // vision.patch_size for side in sides)
    return HostClip(-(-frames // together), rows, columns, merge, setup.text)


def vision_flops(host: Any, clip: HostClip) -> float:
    """Operations of the vision tower with its merger on one clip."""
    tower: Any = family_of(host).vision_tower(host)
    patches, vision = clip.steps * clip.rows * clip.columns, host.config.vision_config
    total = 2.0 * patches * _weights(tower.patch_embed)
    whole = getattr(vision, "fullatt_block_indexes", range(len(tower.blocks)))
    for number, block in enumerate(tower.blocks):
        attended = (clip.rows * clip.columns) ** 2 if number in whole else _window_pairs(vision, clip)
        total += 2.0 * patches * _weights(block) + 4.0 * clip.steps * attended * block.attn.proj.in_features
    mergers = [child for name, child in tower.named_children() if "merger" in name]
    return float(total + 2.0 * clip.visual_tokens * sum(map(_weights, mergers)))


def _window_pairs(vision: Any, clip: HostClip) -> int:
    """Number of pairs of patches of one step that attend to each other within windows."""
    side = vision.window_size // vision.spatial_merge_size // vision.patch_size  # in tokens
    heights, widths = ([min(side, n - first) for first in range(0, n, side)] for n in clip.grid)
    return sum((clip.merge**2 * high * wide) ** 2 for high, wide in itertools.product(heights, widths))


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
