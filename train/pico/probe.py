"""Probe frozen features of a video transformer for depth and for the camera's way.

    python -m train.pico.clips --cache CLIPS --split test --clips 1000
    python -m train.pico.probe --cache CLIPS --wan WAN --out trained.json      # WAN: vae/ and transformer/
    python -m train.pico.probe --cache CLIPS --wan WAN --untrained --sigmas 0.3 --out untrained.json
    python -m train.pico.probe --cache CLIPS --wan WAN --transformer RUN/image/transformer --out twin.json
    python -m train.pico.probe --cache CLIPS --wan WAN --transformer RUN/depth/transformer --sigmas 0 \\
        --out ceiling.json

Ridge regressions and small MLPs on features of blocks, noise levels and modes of the real backbone; beside
them the same for the untrained network, for the bare latents, for a twin that saw single pictures and for a
network that was trained on depth itself (`control.py`), which is read without noise, as it was trained.
By the method of a prototype that fooled itself first: R2 is over what the position alone says (so that a
constant picture scores 0), the penalty is chosen with whole rooms left out, and errors are a bootstrap over
rooms. A killed run goes on with the same command.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from train.pico.clips import SIDE, Clips
from train.pico.flow import build
from vega3d import WanBackbone, WanConfig
from vega3d._utils.files import write_whole
from vega3d.media.frame_plan import FramePlan

SEEN = (4, 8, 12, 16)  # frames of a clip that are asked about
GRID = 8  # tokens a side
PENALTIES = tuple(10.0**k for k in range(-4, 5))
FOLDS = 5
Array = NDArray[np.float32]


def plans(mode: str) -> tuple[list[int], FramePlan]:
    """Frames that the backbone gets, and its plan, for the four frames that are asked about."""
    if mode == "frame":
        return list(SEEN), FramePlan.per_frame(range(len(SEEN)))
    if mode == "window":  # five frames that end at the one asked about
        runs = tuple(tuple(range(f - 4, f + 1)) for f in SEEN)
        return list(range(17)), FramePlan(SEEN, tuple(range(17)), tuple((f,) for f in SEEN), runs)
    whole = tuple(range(17))
    return list(whole), FramePlan(SEEN, whole, tuple((f,) for f in SEEN), (whole,))


def gather(
    wan: WanBackbone, clips: Clips, count: int, mode: str, blocks: Sequence[int], sigmas: Sequence[float]
) -> dict[tuple[int, float], NDArray[np.float16]]:
    """Features (count, 4, 8, 8, C) of each block and noise level, by the real backbone."""
    wan.config = dataclasses.replace(wan.config, mode=mode)
    frames, plan = plans(mode)
    found: dict[tuple[int, float], list[Tensor]] = {}
    for first in range(0, count, 8):
        batch = [
            torch.from_numpy(clips.pixels[i][frames]).permute(0, 3, 1, 2)
            for i in range(first, min(count, first + 8))
        ]
        for key, maps in wan.sweep(batch, [plan] * len(batch), blocks=blocks, sigmas=sigmas).items():
            found.setdefault(key, []).extend(m.features[:, -len(SEEN) :].half() for m in maps)
    # taken out one by one: every block of a thousand clips is there once, not twice
    return {key: torch.stack(found.pop(key)).movedim(1, -1).numpy() for key in list(found)}


def bare(wan: WanBackbone, clips: Clips, count: int, mode: str) -> NDArray[np.float16]:
    """The clean latents of the same tokens (count, 4, 8, 8, 64), four latent pixels a token."""
    frames, _ = plans("clip" if mode == "clip" else "frame")
    out = []
    for first in range(0, count, 8):  # a call costs as much for eight clips as for one
        x = torch.from_numpy(clips.pixels[first : min(count, first + 8)][:, frames])
        x = x.permute(0, 4, 1, 2, 3).float() / 255  # (b, 3, T, H, W)
        if mode == "clip":
            z = wan.latents(x)[:, :, 1:].transpose(1, 2)  # (b, 4, 16, 16, 16)
        else:
            z = wan.latents(x.transpose(1, 2).flatten(0, 1)[:, :, None])[:, :, 0].unflatten(0, (len(x), -1))
        cells = z.unflatten(4, (GRID, 2)).unflatten(3, (GRID, 2))  # (b, 4, 16, 8, 2, 8, 2)
        out.append(cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(4))
    return torch.cat(out).half().numpy()


def depths(clips: Clips, count: int) -> Array:
    """Mean log depth in each token (count, 4, 8, 8)."""
    depth = np.log(np.asarray(clips.depth[:count][:, list(SEEN)], dtype=np.float32))
    cell = depth.shape[-1] // GRID
    return depth.reshape(count, len(SEEN), GRID, cell, GRID, cell).mean((3, 5))


def ways(clips: Clips, count: int) -> Array:
    """The camera's way from first to last frame asked about (count, 3): metres right and ahead, yaw."""
    poses = np.asarray(clips.poses[:count][:, [SEEN[0], SEEN[-1]]], dtype=np.float64)
    relative = np.linalg.inv(poses[:, 0]) @ poses[:, 1]
    yaw = np.arctan2(relative[:, 0, 2], relative[:, 2, 2])
    return np.stack([relative[:, 0, 3], relative[:, 2, 3], yaw], axis=1).astype(np.float32)


def ridge(x: Array, y: Array, rooms: NDArray[np.int64], train: NDArray[np.bool_]) -> Array:
    """Ridge predictions (N, K) for all rows; standardised, the penalty by cross-validation over rooms."""
    mean, std = x[train].mean(0), x[train].std(0) + 1e-6
    x = np.concatenate([(x - mean) / std, np.ones((len(x), 1), np.float32)], axis=1)
    fold = rooms % FOLDS
    grams = [(x[train & (fold == k)], y[train & (fold == k)]) for k in range(FOLDS)]
    parts = [(a.T.astype(np.float64) @ a, a.T.astype(np.float64) @ b) for a, b in grams]
    whole = (sum(p[0] for p in parts), sum(p[1] for p in parts))
    errors = np.zeros(len(PENALTIES))
    for (a, b), own in zip(grams, parts, strict=True):
        for i, penalty in enumerate(PENALTIES):
            w = _solve(whole[0] - own[0], whole[1] - own[1], penalty)
            errors[i] += float(((a @ w - b) ** 2).sum())
    return (x @ _solve(*whole, PENALTIES[int(errors.argmin())])).astype(np.float32)


def _solve(gram: Any, moment: Any, penalty: float) -> Any:
    scale = penalty * np.trace(gram) / len(gram)
    return np.linalg.solve(gram + scale * np.eye(len(gram)), moment)


def mlp(x: Array, y: Array, train: NDArray[np.bool_], epochs: int = 6, seed: int = 0) -> Array:
    """Predictions (N, K) of a two-layer MLP, AdamW, cosine."""
    torch.manual_seed(seed)
    mean, std = x[train].mean(0), x[train].std(0) + 1e-6
    scale = y[train].std(0) + 1e-6
    inputs, targets = torch.from_numpy((x - mean) / std), torch.from_numpy(y / scale)
    net = nn.Sequential(
        nn.Linear(x.shape[1], 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, y.shape[1])
    )
    rows = torch.from_numpy(np.flatnonzero(train))
    size = 1024 if len(rows) > 20_000 else 64
    total = epochs * (len(rows) // size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    for step in range(total):
        if step % (len(rows) // size) == 0:
            order = rows[torch.randperm(len(rows))]
        at = step % (len(rows) // size) * size
        chosen = order[at : at + size]
        loss = nn.functional.mse_loss(net(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (torch.cat([net(part) for part in inputs.split(65536)]).numpy() * scale).astype(np.float32)


def r2(truth: Array, guess: Array, test: NDArray[np.bool_], seed: int = 0) -> tuple[float, float]:
    """Share of the variance explained on test rooms (N, ...) and its bootstrap error over rooms."""
    axes = tuple(range(1, truth.ndim))
    wrong = ((truth - guess)[test] ** 2).sum(axes).astype(np.float64)
    total = (truth[test] ** 2).sum(axes).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(wrong), size=(1000, len(wrong)))
    return 1 - wrong.sum() / total.sum(), float((1 - wrong[drawn].sum(1) / total[drawn].sum(1)).std())


class Probe:
    """Targets of the probe rooms, and what features say of them."""

    def __init__(self, clips: Clips, count: int, share: float = 0.7) -> None:
        self.count = count
        self.train = np.arange(count) < int(share * count)
        depth = depths(clips, count)
        self.depth = depth - depth[self.train].mean(0)  # over what the position says
        way = ways(clips, count)
        self.way = way - way[self.train].mean(0)

    def depth_of(self, features: NDArray[Any], deep: bool = False) -> tuple[float, float]:
        """R2 of log depth from features (count, 4, 8, 8, C), by ridge or by MLP."""
        x = features.astype(np.float32).reshape(-1, features.shape[-1])
        per = x.shape[0] // self.count
        rooms, train = np.repeat(np.arange(self.count), per), np.repeat(self.train, per)
        y = self.depth.reshape(-1, 1)
        guess = mlp(x, y, train) if deep else ridge(x, y, rooms, train)
        return r2(self.depth, guess.reshape(self.depth.shape), ~self.train)

    def way_of(self, features: NDArray[Any]) -> list[tuple[float, float]]:
        """R2 of right, ahead and yaw from pooled features of the first and last frame, by ridge."""
        x = features.astype(np.float32)[:, [0, -1]]  # (count, 2, 8, 8, C)
        x = x.reshape(self.count, 2, 2, 4, 2, 4, -1).mean((3, 5)).reshape(self.count, -1)
        guess = ridge(x, self.way, np.arange(self.count), self.train)
        return [r2(self.way[:, k : k + 1], guess[:, k : k + 1], ~self.train) for k in range(3)]

    def report(self, features: NDArray[Any], deep: bool) -> dict[str, Any]:
        """All of it, rounded."""
        found: dict[str, Any] = {"depth_ridge": self.depth_of(features)}
        if deep:
            found["depth_mlp"] = self.depth_of(features, deep=True)
        found |= dict(zip(("right", "ahead", "yaw"), self.way_of(features), strict=True))
        return {k: [round(float(v), 4) for v in pair] for k, pair in found.items()}


def load(wan: Path, transformer: WanTransformer3DModel | Path | None = None) -> WanBackbone:
    """The backbone of a folder, or with another transformer."""
    if not isinstance(transformer, WanTransformer3DModel):
        folder = transformer or wan / "transformer"
        transformer = WanTransformer3DModel.from_pretrained(folder, torch_dtype=torch.float32)
    vae = AutoencoderKLWan.from_pretrained(wan / "vae", torch_dtype=torch.float32)
    prompt = load_file(str(wan / "prompt_embeds.safetensors"))["prompt_embeds"]
    config = WanConfig(block=len(transformer.blocks) - 1, pixels=SIDE * SIDE, micro_batch=8)
    return WanBackbone(transformer, vae, prompt, config)


def main() -> None:
    """Probe a trained transformer, the untrained one and the bare latents; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--wan", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rooms", type=int, default=1000)
    parser.add_argument("--blocks", type=int, nargs="+", default=None, help="default: every block")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--modes", nargs="+", default=["frame", "window", "clip"])
    parser.add_argument("--untrained", action="store_true", help="the network before its training")
    parser.add_argument("--transformer", type=Path, default=None, help="instead of the one of --wan")
    parser.add_argument("--deep", type=int, nargs="*", default=[11, 20], help="blocks that get an MLP, too")
    parser.add_argument("--deep-sigmas", type=float, nargs="*", default=[0.0, 0.3], help="where they get it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clips = Clips(args.cache, "test", args.rooms)
    assert clips.refresh() >= args.rooms
    probe = Probe(clips, args.rooms)
    wan = load(args.wan, build(0) if args.untrained else args.transformer)
    stock = not args.untrained and args.transformer is None  # latents are the same for every transformer
    blocks = range(wan.config.block + 1) if args.blocks is None else args.blocks
    of = {name: str(getattr(args, name)) for name in ("wan", "transformer", "untrained", "rooms")}
    results: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"of": of}
    if results["of"] != of:
        parser.error(f"{args.out} holds figures of {results['of']}, not of {of}: choose another --out")
    start = time.time()

    def keep(name: str, features: NDArray[Any], deep: bool) -> None:
        results[name] = probe.report(features, deep)
        print(name, results[name], f"{time.time() - start:.0f} s", flush=True)

    for mode in args.modes:
        if stock and mode != "window" and f"{mode} latents" not in results:
            keep(f"{mode} latents", bare(wan, clips, args.rooms, mode), True)
        names = {(b, s): f"{mode} block {b} sigma {s}" for s in args.sigmas for b in blocks}
        sigmas = [s for s in args.sigmas if any(names[b, s] not in results for b in blocks)]
        found = gather(wan, clips, args.rooms, mode, blocks, sigmas) if sigmas else {}
        for (block, sigma), x in found.items():
            keep(names[block, sigma], x, block in args.deep and sigma in args.deep_sigmas)
        write_whole(args.out, lambda part: part.write_text(json.dumps(results, indent=1)))


if __name__ == "__main__":
    main()
