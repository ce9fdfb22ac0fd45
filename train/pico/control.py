"""Train the video transformer's architecture on another task: masked latents, or depth.

    python -m train.pico.control --latents LATENTS --cache CLIPS --run RUN/masked --task masked --steps N
    python -m train.pico.control --latents LATENTS --cache CLIPS --run RUN/depth --task depth --steps N

Controls for the question whether *generation* is what teaches: the same network, latents, clips, batches,
optimizers and number of steps as `flow.py --kind video`, and another loss. The input is the clean
latents at time 0. `masked`: three quarters of the patches of a clip are taken out (zeros are the latents'
mean; as in SimMIM the network sees the gaps), and what was there is predicted. `depth`: the log depth of
each latent pixel's 2 x 2 parts is predicted, from the renderer. Both are read later with sigma 0.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.pico.clips import Clips
from train.pico.flow import LENGTHS, SHARES, build, speed_up, velocity
from train.pico.latents import FRAMES, STRIDE, Latents
from train.pico.run import Run, add_options, mixed

MASKED = 0.75
PATCH = 2  # latent pixels on a side of a token
PARTS = 4  # depths in a latent pixel


def choose(
    latents: Latents, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Clips, their length, and for single pictures which moment of each: lengths as in ``flow.draw``."""
    length = int(rng.choice(LENGTHS, p=SHARES))
    chosen = rng.integers(len(latents), size=batch * FRAMES // length)
    return chosen, length, rng.integers(FRAMES, size=len(chosen)) if length == 1 else None


def inputs(latents: Latents, chosen: np.ndarray, length: int, moments: np.ndarray | None) -> Tensor:
    """Clean latents (b, 16, T, 16, 16)."""
    if moments is not None:
        return torch.from_numpy(latents.image[chosen, moments]).float()[:, :, None]
    return torch.from_numpy(latents.video[chosen, :length]).float().transpose(1, 2)


def depths(clips: Clips, chosen: np.ndarray, length: int, moments: np.ndarray | None) -> Tensor:
    """Log depth (b, 4, T, 16, 16) of the parts of each latent pixel, at the moment of each latent frame."""
    frames = moments[:, None] if moments is not None else np.tile(np.arange(length), (len(chosen), 1))
    depth = np.stack([clips.depth[index][own * STRIDE] for index, own in zip(chosen, frames, strict=True)])
    parts = torch.from_numpy(np.log(depth.astype(np.float32)))  # (b, T, 32, 32)
    return F.pixel_unshuffle(parts[:, :, None], 2).transpose(1, 2)  # (b, 4, T, 16, 16)


def gaps(z: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(b, 1, T, h, w) in {0, 1}: which latent pixels are taken out, whole patches of them."""
    b, _, t, h, w = z.shape
    drawn = torch.rand(b, 1, t, h // PATCH, w // PATCH, generator=generator) < MASKED
    return drawn.float().repeat_interleave(PATCH, -1).repeat_interleave(PATCH, -2)


def masked_loss(model: Any, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Squared error of the latents that were taken out."""
    gap = gaps(z, generator)
    guess = velocity(model, z * (1 - gap), torch.zeros(len(z))).float()
    return ((guess - z) ** 2 * gap).sum() / (gap.sum().clamp_min(1) * z.shape[1])


def depth_loss(model: Any, z: Tensor, depth: Tensor) -> Tensor:
    """Squared error of log depth, in the first four channels of what comes out."""
    guess = velocity(model, z, torch.zeros(len(z))).float()
    return F.mse_loss(guess[:, :PARTS], depth)


def loss_of(
    model: Any, task: str, latents: Latents, clips: Clips, batch: int, rng: np.random.Generator
) -> Tensor:
    """The loss of one drawn batch."""
    drawn = choose(latents, batch, rng)
    z = inputs(latents, *drawn)
    with mixed():
        return masked_loss(model, z) if task == "masked" else depth_loss(model, z, depths(clips, *drawn))


@torch.no_grad()
def held_out(model: Any, task: str, latents: Latents, clips: Clips) -> float:
    """Loss on held-out clips of full length, with the same gaps every time."""
    generator, losses = torch.Generator().manual_seed(1), []
    for first in range(0, len(latents), 8):
        chosen = np.arange(first, min(len(latents), first + 8))
        z = inputs(latents, chosen, FRAMES, None)
        with mixed():
            one = (
                masked_loss(model, z, generator)
                if task == "masked"
                else depth_loss(model, z, depths(clips, chosen, FRAMES, None))
            )
        losses.append(float(one))
    return round(float(np.mean(losses)), 4)


def train(args: argparse.Namespace) -> None:
    """Train for so many steps; write the transformer and what it reached."""
    torch.set_num_threads(args.threads)
    latents, val = Latents(args.latents, "train", args.capacity), Latents(args.latents, "val", args.val)
    clips, val_clips = Clips(args.cache, "train", args.capacity), Clips(args.cache, "val", args.val)
    model = build(args.seed)
    before = held_out(model, args.task, val, val_clips)
    blocks = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    run = Run(args.run, {"dit": model}, blocks, 0, args.lr, average=["dit"], steps=args.steps,
              weight_decay=0.01)  # fmt: skip
    print("resumed" if run.load() else "new", f"{model.num_parameters():,} parameters", flush=True)
    speed_up(model, compiled=not args.eager)
    rng = np.random.default_rng([args.seed, run.step])
    while run.done < 1:
        with run.timed():
            loss = loss_of(model, args.task, latents, clips, args.batch, rng)
            loss.backward()
            run.update()
        if run.step % 100 == 0:
            print(f"{args.task} step {run.step} {run.seconds / 60:.1f} min {loss.item():.4f}", flush=True)
    run.save()
    finish(run, model, val, val_clips, before, args)


def finish(run: Run, model: Any, val: Latents, clips: Clips, before: float, args: argparse.Namespace) -> None:
    """Save the moving average in bf16 and what it reaches."""
    with run.at_average():
        reached = held_out(model, args.task, val, clips)
        shown = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
        whole = {
            "minutes": round(run.seconds / 60, 1),
            "loss": reached,
            "untrained": before,
            **shown,
            "steps": run.step,
        }
        saved = build(args.seed)
        saved.load_state_dict(model.state_dict())
        saved.to(torch.bfloat16).save_pretrained(args.run / "transformer", max_shard_size="4MB")
        (args.run / "transformer.json").write_text(json.dumps(whole, indent=1))
    print(json.dumps(whole), flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="the clips: depth is read from them")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--task", choices=["masked", "depth"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    add_options(parser)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
