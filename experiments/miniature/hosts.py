"""The host of a run: the shipped one, one in a folder, or the shipped one with tokens that hardly say where.

A host whose eyes know depth cannot show what another network's depth adds, and the shipped one's do: a helper
loss taught it. So ``what`` keeps of its visual tokens the few directions that tell best which kinds and
colours a token shows, and takes the rest out: the canonical directions of tokens and labels (the whitening of
LEACE, Belrose et al. 2023, arXiv 2306.03819, used to keep a concept where that takes one out). The map is
folded into the last layer of the merger, so the result is a stock Qwen2.5-VL. Nothing is trained. This module
knows no arm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from experiments.miniature.config import What
from experiments.miniature.stages import digest_of_files
from train.pico import data, host, pack, score
from vega3d.pico import pico_path

HOST = "host"
BATCH = 12
SHOWN = 0.15  # share of a token from which on it shows a kind or a colour
SHRINK = 1e-4  # of the mean variance, added to the covariance of tokens


def make_host(folder: Path, settings: What) -> dict[str, Any]:
    """Write the host to ``<folder>/host``.

    Returns:
        Digest of its files, and what it answers ``before`` and ``after`` it was cut down: for each family of
        pico's questions ``score``, standard error, and the best ``blind`` answers' score.
    """
    cache, held_out = (
        data.Cache(folder / "cache", split, count)
        for split, count in (("train", settings.scenes), ("val", settings.held_out))
    )
    for one in (cache, held_out):
        one.fill(data.processor_resize(), one.capacity)
        one.refresh()  # the lines that it wrote
    path = pico_path("host")
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(path)
    tokens = tokens_of(model, processor, cache.pixels)
    before = answers(model, processor, cache, held_out)
    labels = torch.from_numpy(cache.helpers[:, :, 1 : data.SHARES].astype(np.float32)).flatten(0, 1) > SHOWN
    fold(model.model.visual.merger.mlp[-1], *kept(tokens, labels, settings.directions))
    after = answers(model, processor, cache, held_out)
    model.to(torch.bfloat16).save_pretrained(folder / HOST, max_shard_size="4MB")
    processor.save_pretrained(folder / HOST)
    return {"files": digest_of_files(folder / HOST), "before": before, "after": after}


def answers(model: Any, processor: Any, known: Any, asked: Any) -> dict[str, dict[str, float]]:
    """Family of questions to its scores on the rooms of ``asked``; blind answers know those of ``known``."""
    blind = score.Blind(tuple(row) for facts in known.lines for row in facts["asked"])
    packer = pack.Packer(model, processor)
    found: dict[str, dict[str, float]] = host.evaluate(model, packer, asked, blind, asked.capacity)
    model.eval()
    return found


@torch.no_grad()
def tokens_of(model: Any, processor: Any, pixels: Any) -> Tensor:
    """Visual tokens (N, D) float64 of clips (R, T, H, W, 3) uint8, clip after clip."""
    packer = pack.Packer(model, processor)
    found: list[Tensor] = []
    for first in range(0, len(pixels), BATCH):
        clips = torch.from_numpy(np.asarray(pixels[first : first + BATCH])).float()
        batch = packer.pack(clips, [[("", "")]] * len(clips), seconds=1.5)
        found += model.model.get_video_features(batch.patches, batch.grid).pooler_output
    return torch.cat(found).double()


def kept(tokens: Tensor, labels: Tensor, directions: int) -> tuple[Tensor, Tensor]:
    """The affine map x -> A x + b that keeps the directions of tokens (N, D) that tell labels (N, L) best.

    With whitened tokens, U the first left singular vectors of their covariance with the standardised labels:
    A = S^(1/2) U U^T S^(-1/2), b = (1 - A) mean. Applied twice it is what it is applied once.

    Returns:
        A (D, D) and b (D,), float64.
    """
    mean = tokens.mean(0)
    centred, told = tokens - mean, labels.double() - labels.double().mean(0)
    told = told / told.std(0).clamp_min(1e-6)
    spread = centred.T @ centred / len(tokens)
    spread = spread + SHRINK * spread.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(spread)
    whiten, colour = (vectors @ torch.diag(values**power) @ vectors.T for power in (-0.5, 0.5))
    best = torch.linalg.svd(whiten @ (centred.T @ told / len(tokens)), full_matrices=False).U[:, :directions]
    A = colour @ best @ best.T @ whiten
    return A, mean - A @ mean


@torch.no_grad()
def fold(layer: torch.nn.Linear, A: Tensor, b: Tensor) -> None:
    """Put an affine map behind a layer into the layer."""
    layer.bias.copy_((A @ layer.bias.double() + b).to(layer.bias.dtype))
    layer.weight.copy_((A @ layer.weight.double()).to(layer.weight.dtype))
