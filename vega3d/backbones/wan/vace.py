"""Wan2.1-VACE: the input of its control branch, and the hints from that branch to the main blocks.

There are two forms. *No reference*: the latent is the frame, the control is the frame with a blank picture.
*With reference*: latent and control hold two frames, the reference and the frame. Both are noised, and the
frame's tokens are kept. The released code pairs a one-frame latent with a two-frame control and keeps the
tokens of the padding, which do not depend on the picture. That form exists in the tests only.

A hint belongs to a main block and is added *after* it. Only control blocks up to the last main block that is
run are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vega3d.backbones.wan.config import Mode
from vega3d.backbones.wan.dit import BlockConstants, run_block
from vega3d.errors import BackboneError

MASK = 64  # channels of the mask: 8 x 8 pixels of one latent position, 1 where the picture may change


def require_kind(mode: Mode, vace: bool) -> None:
    """Refuse a mode that does not fit the kind of Wan.

    Raises:
        BackboneError: ``mode`` needs a VACE and ``vace`` is False, or the reverse.
    """
    if mode.startswith("vace") != vace:
        text_to_video, with_control = "a text-to-video Wan2.1", "a Wan2.1-VACE"
        got, expected = (with_control, text_to_video) if vace else (text_to_video, with_control)
        fix = "WanConfig(mode='vace_no_reference') runs a VACE, mode='frame' a text-to-video Wan2.1"
        title = f"Invalid mode {mode!r}: it does not fit these weights."
        raise BackboneError(title, got=got, expected=expected, fix=fix)


def control(latents: Tensor, blank: Tensor) -> Tensor:
    """Build the control of clean latents, with a reference if they hold two frames.

    Args:
        latents: (N, 16, 1, h, w), the frame; or (N, 16, 2, h, w), the reference, then the frame.
        blank: (1, 16, 1, h, w), the latent of a picture that is zero in [-1, 1].

    Returns:
        (N, 96, 1 or 2, h, w): the part to keep, the part that may change, and the mask. All of the frame may
        change; the reference is kept.
    """
    frame = latents[:, :, -1:]
    mask = torch.ones_like(frame[:, :1]).expand(-1, MASK, -1, -1, -1)
    of_frame = torch.cat([blank.expand_as(frame), frame, mask], dim=1)
    if latents.shape[2] == 1:
        return of_frame
    reference = latents[:, :, :1]
    of_reference = torch.cat([reference, torch.zeros_like(reference), torch.zeros_like(mask)], dim=1)
    return torch.cat([of_reference, of_frame], dim=2)


def hints(
    dit: Any, stream: Tensor, shown: Tensor, constants: Sequence[BlockConstants], rotary: Tensor
) -> dict[int, Tensor]:
    """Compute the term to add after each main block that has a control block.

    Args:
        dit: diffusers' ``WanVACETransformer3DModel``.
        stream: (N, L, C), the main stream before its first block.
        shown: (N, 96, T, h, w) from ``control``.
        constants: one for each control block that is run.
        rotary: as for the main blocks.

    Returns:
        {main block: (N, L, C)} in the dtype of ``stream``.
    """
    patches = dit.vace_patch_embedding(shown.to(dit.vace_patch_embedding.weight.dtype))  # (N, C, T, h/2, w/2)
    side = patches.flatten(2).transpose(1, 2).to(stream.dtype)  # (N, L, C)
    terms: dict[int, Tensor] = {}
    controls = zip(dit.config.vace_layers, dit.vace_blocks, constants, strict=False)
    for main_block, block, block_constants in controls:
        dtype = block.proj_out.weight.dtype
        if block.proj_in is not None:
            side = block.proj_in(side.to(dtype)).to(stream.dtype) + stream
        side = run_block(block, side, block_constants, rotary)
        terms[main_block] = block.proj_out(side.to(dtype)).to(stream.dtype)
    return terms
