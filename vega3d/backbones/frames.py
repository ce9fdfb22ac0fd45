"""Frames and noise as every generator takes them, so that a feature does not depend on the rest of a batch.

The range of frames is taken from the dtype and checked, never guessed (the released code guesses it, per
batch). A kernel may round differently for another number of rows, so all forwards have one size.

The unit of noise is sigma in 0..1: z = (1 - sigma) z0 + sigma eps (arXiv 2603.19235, sec. 3). A model's own
timestep is derived from it. Noise is drawn on the CPU in float32 from a seed of its own, so that it depends
on neither the global generator, nor the device, nor the threads. By default the seed is derived from the
encoded frames, so a picture always gets the same noise, whatever else is in the batch.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vega3d._utils.checks import require_sigma
from vega3d.config import Schedule
from vega3d.errors import InputError

SLACK = 1e-4  # rounding of a resize may leave [0, 1] by this much
STEPS = 1000  # timesteps of the native clock: t = 1000 sigma
SHIFT = 5.0  # the released code's shift of its table towards noise
_TOP = struct.unpack("f", struct.pack("f", 0.999))[0]  # highest noise level of the table, a float32


def require_frames(frames: object) -> Tensor:
    """Check frames (N, 3, H, W): uint8, or float in [0, 1]; returns them unchanged.

    Raises:
        InputError: another shape, dtype or range, or no frame at all.
    """
    if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        shape = tuple(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
        expected = "a tensor (frames, 3, height, width) with at least one frame and one pixel"
        fix = "convert to RGB and stack the frames of a clip; a single frame is frame[None]"
        raise InputError(f"Invalid shape of frames: {shape}.", got=shape, expected=expected, fix=fix)
    dtype, expected = frames.dtype, "uint8 in 0..255, or float in [0, 1]"
    if dtype == torch.uint8:
        return frames
    if not frames.is_floating_point():
        fix = "call .to(torch.uint8) if the values are 0..255"
        raise InputError(f"Invalid dtype of frames: {dtype}.", got=dtype, expected=expected, fix=fix)
    low, high = (float(end) for end in torch.aminmax(frames.detach().float()))
    if not (low >= -SLACK and high <= 1.0 + SLACK):  # also refuses nan
        fix = "pass the decoded uint8 frames, or undo a host's normalisation"
        title = f"Invalid range of frames: [{low:g}, {high:g}] is not within [0, 1]."
        raise InputError(title, got=f"{dtype} in [{low:g}, {high:g}]", expected=expected, fix=fix)
    return frames


def unit(frames: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]; floats, which are in that range already, to float32."""
    return frames.float().div(255.0) if frames.dtype == torch.uint8 else frames.float()


def in_micro_batches(
    items: Any,
    size: int,
    encode: Callable[[Tensor], Tensor],
    prepare: Callable[[Any], Tensor] | None = None,
) -> Tensor:
    """Encode items in parts of exactly ``size`` rows; the last part is padded with its last row.

    Args:
        items: a tensor (N, ...), or a sequence of N items that ``prepare`` stacks.
        size: rows of a part.
        encode: (size, ...) to (size, ...).
        prepare: items of one part to (n, ...); only one part of them is in memory at a time.

    Returns:
        (N, ...).
    """
    done = []
    for first in range(0, len(items), size):
        part = items[first : first + size]
        rows: Tensor = part if prepare is None else prepare(part)  # (n, ...)
        filled = torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])
        done.append(encode(filled.contiguous())[: len(rows)])
    return torch.cat(done)


def schedule(sigma: float, kind: Schedule) -> tuple[float, float]:
    """Timestep and sigma that a model is run with, for a noise level ``sigma`` in 0..1.

    Raises:
        ConfigError: ``sigma`` is out of range.
    """
    require_sigma(sigma)
    clock = round(STEPS * sigma, 6)  # 1000 * 0.29 must be 290, not 289.99999999999994
    return (clock, sigma) if kind == "exact" else _released(clock)


def _released(timestep: float) -> tuple[int, float]:
    """Look up ``timestep`` in the released code's table: the nearest integer timestep and its sigma.

    The table holds 1000 noise levels, densest near pure noise, whose timesteps are truncated to integers. The
    first entry with the nearest integer gives the timestep. If an integer occurs twice, its second entry
    gives sigma. For example, 300 gives (299, 0.299923837184906).
    """
    levels, clock = _table()
    nearest = min(range(STEPS), key=lambda index: abs(clock[index] - timestep))
    if nearest + 1 < STEPS and clock[nearest + 1] == clock[nearest]:
        nearest += 1
    single: float = struct.unpack("f", struct.pack("f", levels[nearest]))[0]
    return clock[nearest], single


@cache
def _table() -> tuple[tuple[float, ...], tuple[int, ...]]:
    even = [_TOP * (1.0 - index / STEPS) for index in range(STEPS)]
    levels = tuple(SHIFT * level / (1.0 + (SHIFT - 1.0) * level) for level in even)
    return levels, tuple(int(STEPS * level) for level in levels)


def add_noise(latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Mix latents with noise: z = (1 - sigma) latents + sigma noise, element by element.

    Raises:
        InputError: the shapes differ.
    """
    if latents.shape != noise.shape:
        title = "Invalid shape of the noise: it differs from that of the latents."
        got, expected, fix = tuple(noise.shape), tuple(latents.shape), "draw noise of the latents' shape"
        raise InputError(title, got=got, expected=expected, fix=fix)
    return (1.0 - sigma) * latents + sigma * noise.to(latents)


def content_noise(seed: int, frames: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Noise that depends only on the decoded ``frames`` of one video.

    Args:
        seed: seed of an experiment.
        frames: (T, 3, H, W) as decoded: uint8, or float in [0, 1], which is hashed after rounding to uint8.
        shape: of the latent that the noise is for.
        draw: number of the draw under one seed.

    Returns:
        float32 on the CPU.
    """
    levels = frames if frames.dtype == torch.uint8 else (frames.float() * 255.0).round().to(torch.uint8)
    pixels = levels.cpu().contiguous().numpy().tobytes()
    return _draw(f"content {seed} {draw} {tuple(frames.shape)}".encode() + pixels, shape)


def shared_noise(seed: int, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Noise of a latent shape (C, T, h, w), the same at every T; float32 on the CPU."""
    channels, _, height, width = shape
    key = f"shared {seed} {draw} {channels} {height} {width}".encode()
    return _draw(key, (channels, 1, height, width)).expand(tuple(shape))


def _draw(key: bytes, shape: Sequence[int]) -> Tensor:
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1  # 63 bits: no sign
    generator = torch.Generator(device="cpu").manual_seed(number)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")
