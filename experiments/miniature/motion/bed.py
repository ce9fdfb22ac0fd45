"""A language model with a branch, trained and asked on cached tokens: the pilot's bed.

The host is the shipped one. Its visual tokens are computed once where its tower is frozen. All questions
about a picture are one packed sequence (``train/pico/pack.py``). Projector and fusion are the library's. An
answer is the likelier of the two words. Random numbers are seeded again after the new modules are made, so
that LoRA starts alike in all arms. This module reads no file of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from experiments.miniature.motion.arms import Arm
from experiments.miniature.motion.config import Tuning
from experiments.miniature.tuning import hidden_width
from train.pico import data
from train.pico.pack import IGNORE, Packed, Packer, block_mask
from vega3d.fusion import FusionContext
from vega3d.fusion.base import build
from vega3d.fusion.gated_residual import GatedResidual
from vega3d.hosts import family_of
from vega3d.pico import pico_path

SIDE = 64  # pixels of the small encoder's frames
SMALL = 128  # its channels
TOKEN = 28  # pixels of the host on a side of a token
Example = tuple[int, int, Sequence[tuple[str, str]]]
"""Room, twin, and its (question, answer) pairs."""


class WindowEncoder(nn.Module):
    """A small encoder of windows (B, 3, T, 64, 64) to tokens (B, grid * grid, C), trained from scratch."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        widths, strides = (3, 48, 96, SMALL), ((1, 2, 2), (1, 2, 2), (2, 2, 2))
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.GELU()]
        layers += [nn.Conv3d(SMALL, SMALL, (1, 3, 3), 1, (0, 1, 1)), nn.GroupNorm(8, SMALL), nn.GELU()]
        self.layers, self.grid = nn.Sequential(*layers), grid

    def forward(self, windows: Tensor) -> Tensor:
        """Tokens, averaged over time and to the host's grid."""
        maps = self.layers(windows).mean(2)
        return nn.functional.adaptive_avg_pool2d(maps, self.grid).flatten(2).transpose(1, 2)


class Bed(nn.Module):
    """Host, branch and questions of one arm.

    Args:
        arm: which one.
        channels: of its stored features; 0 without any.
        seed: of LoRA and the new modules.
        tuning: rank of LoRA.
        grid: tokens of the host on a side of a picture, see ``host_grid``.
    """

    def __init__(self, arm: Arm, channels: int, seed: int, tuning: Tuning, grid: int) -> None:
        super().__init__()
        path = pico_path("host")
        self.arm = arm
        self.host: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
        self.packer = Packer(self.host, AutoProcessor.from_pretrained(path))
        self.resize, self.grid = data.processor_resize(), grid
        width = self.host.config.get_text_config().hidden_size
        self.host.requires_grad_(False)
        targets = family_of(self.host).lora_targets
        torch.manual_seed(seed)
        self.encoder, self.projector, self.fusion = nn.Identity(), nn.Identity(), nn.Identity()
        if arm.source == "small":
            self.encoder, channels = WindowEncoder(grid), SMALL
        if channels:
            hidden = hidden_width(channels, width)
            self.projector, self.fusion = build(GatedResidual, width, hidden, channels)
        torch.manual_seed(seed)
        options = {"r": tuning.rank, "lora_alpha": tuning.rank, "target_modules": targets}
        inject_adapter_in_model(LoraConfig(**options), self.host)
        if arm.trains_tower:
            self.host.model.visual.requires_grad_(True)
        self.contribution = 0.0

    @property
    def is_fused(self) -> bool:
        """True if the arm has a branch."""
        return not isinstance(self.fusion, nn.Identity)

    def groups(self, tuning: Tuning) -> list[dict[str, Any]]:
        """Trained parameters, each group with its ``name`` and ``lr``."""
        parts: dict[str, list[nn.Parameter]] = {"lora": [], "new": [], "tower": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                is_tower = ".visual." in name and "lora_" not in name
                kind = "tower" if is_tower else "lora" if name.startswith("host.") else "new"
                parts[kind].append(parameter)
        rates = {"lora": tuning.lr, "new": tuning.new_lr, "tower": tuning.tower_lr}
        return [{"name": k, "params": v, "lr": rates[k], "base": rates[k]} for k, v in parts.items() if v]

    def prepared(self, frames: NDArray[np.uint8]) -> Tensor:
        """Frames (..., S, S, 3) at the host's size, (..., H, W, 3)."""
        shape = frames.shape[:-3]
        resized = self.resize(frames.reshape(-1, *frames.shape[-3:]))
        return torch.from_numpy(resized).view(*shape, *resized.shape[-3:]).float()

    def tokens(self, pixels: Tensor) -> Tensor:
        """The host's visual tokens (B, n, D) of pictures (B, T, H, W, 3)."""
        patches, grid = self.packer._patches(pixels, "image")
        parts = self.host.model.get_image_features(patches, grid).pooler_output
        return torch.cat(tuple(parts)).view(len(pixels), -1, parts[0].shape[-1])

    def fused(self, tokens: Tensor, features: Tensor | None) -> Tensor:
        """Host tokens (B, n, D) with features (B, n, C); without a branch as they are."""
        if features is None or not self.is_fused:
            return tokens
        flat, context = tokens.flatten(0, 1), FusionContext((tokens.shape[1],) * len(tokens))
        fused = self.fusion(flat, self.projector(features.float().flatten(0, 1)), context).tokens
        with torch.no_grad():
            self.contribution = float(((fused - flat).norm(dim=-1) / flat.norm(dim=-1)).mean())
        return fused.view_as(tokens)

    def answers(
        self, visual: Tensor, asked: Sequence[Sequence[tuple[str, str]]], pictures: int
    ) -> tuple[Packed, Tensor]:
        """The packed batch and the hidden states (B, L, D) of its questions."""
        side = self.grid * TOKEN
        blank = torch.zeros(len(asked), pictures, side, side, 3)
        batch = self.packer.pack(blank, [list(pairs) for pairs in asked], kind="image")
        model = self.host.model.language_model
        embeds = model.embed_tokens(torch.cat([batch.prefix, batch.questions], dim=1))
        where = nn.functional.pad(batch.media, (0, batch.questions.shape[1]))
        embeds = embeds.masked_scatter(where[..., None], visual.to(embeds.dtype))
        out = model(
            inputs_embeds=embeds, attention_mask={"full_attention": block_mask(batch)},
            position_ids=batch.positions, use_cache=False,
        )  # fmt: skip
        return batch, out.last_hidden_state[:, batch.prefix.shape[1] :]

    def loss(self, visual: Tensor, asked: Sequence[Sequence[tuple[str, str]]], pictures: int) -> Tensor:
        """Mean cross-entropy of the answers' tokens."""
        batch, hidden = self.answers(visual, asked, pictures)
        kept = batch.labels != IGNORE
        return nn.functional.cross_entropy(self.host.lm_head(hidden[kept]), batch.labels[kept])

    @torch.no_grad()
    def scores(
        self,
        visual: Tensor,
        asked: Sequence[Sequence[tuple[str, str]]],
        others: Sequence[Sequence[str]],
        pictures: int,
    ) -> list[float]:
        """1 for each question whose answer is likelier than the other word, else 0; clip after clip."""
        batch, hidden = self.answers(visual, asked, pictures)
        found = []
        for clip, (pairs, wrong) in enumerate(zip(asked, others, strict=True)):
            for number, ((_, word), other) in enumerate(zip(pairs, wrong, strict=True), start=1):
                slots = (batch.segment[clip] == number) & (batch.labels[clip] != IGNORE)
                logits = self.host.lm_head(hidden[clip, int(slots.nonzero()[0])])
                right, false = (self.packer.ids(text)[0] for text in (word, other))
                found.append(float(logits[right] > logits[false]))
        return found


@lru_cache
def host_grid(side: int) -> int:
    """Tokens of the host on a side of a picture of so many pixels."""
    return int(data.processor_resize()(np.zeros((1, side, side, 3), np.uint8)).shape[1]) // TOKEN
