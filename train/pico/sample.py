"""Videos sampled from the pico video transformer, as they come: a GIF, held-out clips above for comparison.

    python -m train.pico.sample --wan WAN --cache CLIPS --out sampled.gif

Flow matching by diffusers' own Euler scheduler; the prompt is the stored, empty one. The upper row shows
rooms that training never saw, by way of the VAE; the lower row was noise before the transformer.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from train.pico.clips import RATE, Clips
from train.pico.latents import CHANNELS, FRAMES, GRID
from train.pico.vae import picture


@torch.no_grad()
def sample(dit: WanTransformer3DModel, prompt: Tensor, count: int, steps: int, seed: int) -> Tensor:
    """Normalised latents (count, 16, 5, 16, 16) made from noise."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)  # as for Wan's small pictures
    scheduler.set_timesteps(steps)
    z = torch.randn(count, CHANNELS, FRAMES, GRID, GRID, generator=torch.Generator().manual_seed(seed))
    text = torch.zeros(count, 512, prompt.shape[-1])
    text[:, : len(prompt)] = prompt
    for t in scheduler.timesteps:
        v = dit(z, t.expand(count), text, return_dict=False)[0]
        z = scheduler.step(v, t, z, return_dict=False)[0]
    return z


@torch.no_grad()
def decode(vae: AutoencoderKLWan, z: Tensor) -> NDArray[np.uint8]:
    """Normalised latents (N, 16, t, h, w) -> videos (N, T, H, W, 3)."""
    config: Any = vae.config
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
    video = vae.decode(z * std + mean, return_dict=False)[0]
    return ((video.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).numpy()


@torch.no_grad()
def through(vae: AutoencoderKLWan, clips: Clips, count: int) -> NDArray[np.uint8]:
    """Held-out clips, encoded and decoded."""
    x = picture(clips.pixels[:count])
    video = vae.decode(vae.encode(x).latent_dist.mean, return_dict=False)[0]
    return ((video.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).numpy()


def main() -> None:
    """Sample, decode, write the GIF."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wan", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--val", type=int, default=160, help="clips the held-out files have room for")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dit = WanTransformer3DModel.from_pretrained(args.wan / "transformer", torch_dtype=torch.float32)
    vae = AutoencoderKLWan.from_pretrained(args.wan / "vae", torch_dtype=torch.float32)
    prompt = load_file(str(args.wan / "prompt_embeds.safetensors"))["prompt_embeds"]
    made = decode(vae, sample(dit, prompt, args.count, args.steps, args.seed))
    seen = through(vae, Clips(args.cache, "val", args.val), args.count)
    rows = [np.concatenate(list(videos), axis=2) for videos in (seen, made)]  # (T, 128, 128 * count, 3)
    frames = [Image.fromarray(f) for f in np.concatenate(rows, axis=1)]
    shared = frames[0].quantize(128, method=Image.Quantize.MEDIANCUT)
    frames = [f.quantize(palette=shared, dither=Image.Dither.NONE) for f in frames]
    frames[0].save(args.out, save_all=True, append_images=frames[1:], duration=round(1000 / RATE), loop=0)
    print(args.out, f"{args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
