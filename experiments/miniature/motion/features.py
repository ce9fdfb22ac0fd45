"""Features of an arm for both twins of every room, at the host's token grid, computed once.

Modes are those of the library's Wan over the five frames that end at the picture. ``window`` keeps the last
latent of the window, ``joint`` the tokens of the last frame, ``clip`` the mean over its latents. The latents
of arm ``latents_window`` are all of the window's, one after the other in channels. A part of the rooms is one
file, so that an interrupted stage resumes. This module depends on no question.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.miniature.config import Features
from experiments.miniature.encoders import WAN
from experiments.miniature.motion.arms import Arm
from experiments.miniature.motion.rooms import Set
from vega3d import WanBackbone, WanConfig
from vega3d._utils.files import make_folder, write_whole
from vega3d.grid import resize_area

PART = 20  # rooms of a file
PATCH = 2  # latent pixels on a side of a token
Encode = Callable[[NDArray[np.uint8]], Tensor]
"""(5, S, S, 3) -> (C, h, w)."""


def make_features(
    folder: Path, arm: Arm, rooms: Set, grid: int, settings: Features, home: Path
) -> dict[str, Any]:
    """Write `part_<n>.npy` (rooms, 2, grid * grid, C) float16.

    Args:
        folder: of the stage.
        arm: with stored features.
        rooms: of one split.
        grid: tokens of the host on a side.
        settings: of frozen encoders.
        home: folder of the encoders.
    """
    make_folder(folder)
    missing = [start for start in range(0, len(rooms), PART) if not _part(folder, start).exists()]
    if missing:
        encode = _encoder(arm, settings, home) if arm.source in ("wan", "latents") else None
        for start in missing:
            chosen = range(start, min(start + PART, len(rooms)))
            values = np.stack([_of_room(arm, rooms, room, grid, encode) for room in chosen])
            write_whole(_part(folder, start), lambda part, values=values: _save(part, values))  # type: ignore[misc]
    return {"channels": int(load_features(folder, 1).shape[-1]), "rooms": len(rooms)}


def load_features(folder: Path, count: int) -> NDArray[np.float16]:
    """(count, 2, tokens, C)."""
    parts = [np.load(_part(folder, start)) for start in range(0, count, PART)]
    return np.concatenate(parts)[:count]


def _part(folder: Path, start: int) -> Path:
    return folder / f"part_{start:04d}.npy"


def _save(part: Path, values: NDArray[np.float16]) -> None:
    with part.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _of_room(arm: Arm, rooms: Set, room: int, grid: int, encode: Encode | None) -> NDArray[np.float16]:
    """(2, tokens, C)."""
    if encode is not None:
        maps = torch.stack([encode(rooms.window(room, twin)) for twin in (0, 1)]).float()
        cells = resize_area(maps, grid, grid).flatten(2).transpose(1, 2)
        return np.asarray(cells.numpy(), dtype=np.float16)
    if arm.source == "motion":
        numbers = waves(rooms.motion[room] / np.array([3.0, 0.06, 0.06], np.float32))  # (2, C)
        return np.repeat(numbers[:, None], grid * grid, axis=1).astype(np.float16)
    depth = torch.from_numpy(np.log(np.maximum(rooms.depth[room], 1e-3)))[None, None]
    cells = resize_area(depth, grid, grid)[0, 0].reshape(-1, 1).numpy()
    return np.repeat(waves(cells)[None], 2, axis=0).astype(np.float16)


def waves(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Numbers (..., K) with sines and cosines of two scales: (..., 5 K)."""
    parts = [function(scale * np.pi * values) for scale in (0.5, 1.0) for function in (np.sin, np.cos)]
    return np.concatenate([values, *parts], axis=-1)


def _encoder(arm: Arm, settings: Features, home: Path) -> Encode:
    """A frozen encoder of one window."""
    name = arm.encoder if arm.source == "wan" else "video"
    mode = arm.mode if arm.source == "wan" else "window"
    config = WanConfig(
        block=settings.block, sigma=0.0 if arm.clean else settings.sigma, mode=mode, window=settings.window,
        extra_frames=0, max_latent_frames=settings.length, pixels=settings.pixels,
    )  # fmt: skip
    wan = WanBackbone.from_pretrained(home / name / WAN, config=config)

    def latents(frames: Tensor) -> Tensor:
        clip = torch.stack([wan.prepare(frame) for frame in frames], dim=1)[None]  # (1, 3, T, H, W)
        z = wan.latents(clip)[0].transpose(0, 1)  # (T', 16, h, w)
        return torch.nn.functional.pixel_unshuffle(z, PATCH).flatten(0, 1)

    def features(frames: Tensor) -> Tensor:
        last = len(frames) - 1
        shown = [last] if mode == "window" else range(len(frames))
        maps = wan(frames, config.frame_plan(shown))[0].features
        return maps.mean(1) if mode == "clip" else maps[:, -1]

    made = latents if arm.source == "latents" else features

    def encode(window: NDArray[np.uint8]) -> Tensor:
        with torch.no_grad():
            return made(torch.from_numpy(window).permute(0, 3, 1, 2)).cpu()

    return encode
