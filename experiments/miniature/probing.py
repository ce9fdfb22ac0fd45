"""Probes of frozen features for depth and places, before any language model is involved.

By the method of ``train/pico/probe.py``, whose regressions are used as they are: R2 over what the position
alone says, the penalty by cross-validation over rooms, errors by a bootstrap over rooms, and an MLP beside
the ridge, since a linear probe alone flatters. Probes learn from rooms of the training set and are tested on
the primary set. This module reads stores and the rooms' geometry; it knows no host and no answer.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.miniature.config import PRIMARY, Settings
from experiments.miniature.features import clip_features
from experiments.miniature.rooms import CELLS, host_frames, load_geometry, videos_of
from train.pico import probe as pico
from vega3d import WanBackbone, WanConfig
from vega3d.grid import resize_area
from vega3d.media.decoding import read_frames
from vega3d.media.frame_plan import FramePlan
from vega3d.store import FeatureStore

Array = NDArray[np.float32]
PLACE = 0.25  # metres on a side of what counts as one place
PAIRS = 2000  # pairs of a room at most


def probe_arm(store: Path, settings: Settings, rooms: Path, sets: dict[str, Any]) -> dict[str, Any]:
    """Depth by ridge and MLP, each (R2, error), and consistency (mean, error over rooms)."""
    opened = FeatureStore(store)
    chosen = {"train": settings.probes.train, PRIMARY: settings.rooms.held_out}
    features: list[Array] = []
    depth: list[Array] = []
    world: list[Array] = []
    for name, count in chosen.items():
        found = clip_features(opened, settings, rooms, name)
        kept = [
            (number, found[video.name])
            for number, video in enumerate(videos_of(rooms / name, sets[name]["seeds"])[:count])
            if video.name in found  # a room without questions has no features
        ]
        made = load_geometry(rooms / name)
        features += [_on_cells(one) for _, one in kept]
        depth += [made["depth"][number] for number, _ in kept]
        world += [made["world"][number] for number, _ in kept]
        if name == "train":
            learned = len(kept)
    x, y = np.stack(features), np.stack(depth)
    train = np.arange(len(x)) < learned
    return {
        **depth_probe(x, y, train, settings.probes.deep),
        "consistency": consistency(x[~train], np.stack(world)[~train]),
        "rooms": [int(train.sum()), int((~train).sum())],
    }


def _on_cells(features: torch.Tensor) -> Array:
    """(C, T, h, w) at the geometry's cells, as (T, 8, 8, C)."""
    placed = resize_area(features.float().cpu().transpose(0, 1), CELLS, CELLS)  # (T, C, 8, 8)
    return np.asarray(placed.permute(0, 2, 3, 1), dtype=np.float32)


def depth_probe(x: Array, depth: Array, train: NDArray[np.bool_], deep: bool) -> dict[str, list[float]]:
    """R2 and error of log depth (R, T, 8, 8) from features (R, T, 8, 8, C), on rooms not in ``train``."""
    over = depth - depth[train].mean(0)  # over what the position says
    cells = int(np.prod(depth.shape[1:]))
    flat, target = x.reshape(-1, x.shape[-1]), over.reshape(-1, 1)
    rooms, rows = np.repeat(np.arange(len(x)), cells), np.repeat(train, cells)
    found = {"depth_ridge": pico.ridge(flat, target, rooms, rows)}
    if deep:
        found["depth_mlp"] = pico.mlp(flat, target, rows)
    return {
        name: [round(float(v), 4) for v in pico.r2(over, guess.reshape(over.shape), ~train)]
        for name, guess in found.items()
    }


def consistency(x: Array, world: Array, seed: int = 0) -> list[float]:
    """Cosine of features of one place in two frames, less that of two places in the same two frames.

    Features are centred at their mean at each position of the picture: else what all rooms share at a
    position would count as agreement.

    Args:
        x: (R, T, h, w, C).
        world: (R, T, h, w, 3) metres in the room's axes.
        seed: of the choice of pairs.

    Returns:
        Mean over rooms and its standard error.
    """
    centred = x - x.mean(axis=(0, 1), keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)
    rng = np.random.default_rng(seed)
    scores = [_agreement(own, place, rng) for own, place in zip(unit, world, strict=True)]
    known = np.array([score for score in scores if score is not None])
    if len(known) < 2:
        return [float(known.mean()) if len(known) else 0.0, 0.0]
    return [round(float(known.mean()), 4), round(float(known.std(ddof=1) / len(known) ** 0.5), 4)]


def _agreement(unit: Array, world: Array, rng: np.random.Generator) -> float | None:
    """Of one room; None if no place is seen in two frames."""
    t, cells = len(unit), int(np.prod(unit.shape[1:3]))
    frames, flat = np.repeat(np.arange(t), cells), unit.reshape(t * cells, -1)
    _, place = np.unique(np.floor(world.reshape(-1, 3) / PLACE), axis=0, return_inverse=True)
    one, two = np.triu_indices(len(flat), 1)
    same = (place.ravel()[one] == place.ravel()[two]) & (frames[one] != frames[two])
    if not same.any():
        return None
    drawn = rng.permutation(np.flatnonzero(same))[:PAIRS]
    first, second = one[drawn], two[drawn]
    other = frames[second] * cells + rng.integers(cells, size=len(drawn))  # a place in the same frame
    agree = (flat[first] * flat[second]).sum(-1).mean() - (flat[first] * flat[other]).sum(-1).mean()
    return float(agree)


def sweep(encoder: Path, settings: Settings, rooms: Path, sets: dict[str, Any]) -> dict[str, Any]:
    """Depth by ridge for every block and noise level of an encoder, each frame alone.

    Returns:
        "block sigma" to (R2, error).
    """
    own, count = settings.probes, settings.probes.sweep_rooms
    config = WanConfig(block=max(own.blocks), pixels=settings.features.pixels)
    wan = WanBackbone.from_pretrained(encoder, config=config)
    frames = host_frames(settings.rooms.frames, settings.nframes)
    plan = FramePlan.per_frame(range(len(frames)))
    found: dict[tuple[int, float], list[Array]] = {}
    depth: list[Array] = []
    counts = {name: min(count, len(sets[name]["seeds"])) for name in ("train", PRIMARY)}
    for name, most in counts.items():
        depth += list(load_geometry(rooms / name)["depth"][:most])
        for video in videos_of(rooms / name, sets[name]["seeds"])[:most]:
            maps = wan.sweep([read_frames(video, frames)], [plan], blocks=own.blocks, sigmas=own.sigmas)
            for key, (one,) in maps.items():
                found.setdefault(key, []).append(_on_cells(one.features))
    train = np.arange(len(depth)) < counts["train"]
    return {
        f"{block} {sigma}": depth_probe(np.stack(x), np.stack(depth), train, deep=False)["depth_ridge"]
        for (block, sigma), x in found.items()
    }


def sweep_settings(settings: Settings) -> dict[str, Any]:
    """Settings that decide a sweep, for its hash."""
    return {"probes": dataclasses.asdict(settings.probes), "pixels": settings.features.pixels}
