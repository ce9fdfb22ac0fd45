"""Clips of rooms as the pico VAE's latents, for the video transformer: memory-mapped, resumable.

    python -m train.pico.latents --cache CLIPS --vae RUN/vae --split train --clips 3000

Both forms that the two transformers learn from: `video`, the clip's five latent frames, and `image`, the
same five moments each encoded alone, as a single picture. Normalised by the VAE's own mean and deviation.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from train.pico.clips import Clips
from train.pico.run import mixed
from train.pico.vae import picture, whole_clip
from vega3d.rooms import Split

FRAMES, CHANNELS, GRID = 5, 16, 16  # of a clip's latents
STRIDE = 4  # frames of a clip to a latent frame


class Latents:
    """Latents (capacity, 5, 16, 16, 16) float16 of a split: clip, frame, channel, row, column."""

    def __init__(self, folder: Path, split: Split, capacity: int) -> None:
        self.folder, self.split, self.capacity = Path(folder), split, capacity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.video, self.image = self._map("video"), self._map("image")

    def _map(self, name: str) -> np.memmap:
        path = self.folder / f"{self.split}_{self.capacity}.{name}"
        shape, mode = (self.capacity, FRAMES, CHANNELS, GRID, GRID), "r+" if path.exists() else "w+"
        return np.memmap(path, dtype=np.float16, mode=mode, shape=shape)

    @property
    def _count(self) -> Path:
        return self.folder / f"{self.split}_{self.capacity}.count"

    def __len__(self) -> int:
        """Clips that are encoded."""
        return int(self._count.read_text()) if self._count.exists() else 0

    def fill(self, clips: Clips, vae: AutoencoderKLWan, until: int, batch: int = 4) -> None:
        """Encode clips up to ``until``, waiting for those that are still being rendered."""
        encode = Encoder(vae)
        start, first = time.time(), len(self)
        for index in range(first, until, batch):
            stop = min(until, index + batch)
            while clips.refresh() < stop:
                time.sleep(2)
            x = picture(clips.pixels[index:stop])  # (b, 3, 17, 128, 128)
            self.video[index:stop] = encode(x)
            single = x[:, :, ::STRIDE].transpose(1, 2).flatten(0, 1)[:, :, None]  # (5b, 3, 1, 128, 128)
            self.image[index:stop] = encode(single).reshape(stop - index, FRAMES, CHANNELS, GRID, GRID)
            self._count.write_text(str(stop))
            if index // batch % 25 == 24:
                print(f"{stop}/{until} clips, {(stop - first) / (time.time() - start):.2f}/s", flush=True)


class Encoder:
    """Clips (B, 3, T, H, W) in [-1, 1] -> normalised latent means (B, t, 16, h, w)."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        whole_clip(vae)
        self.vae = vae
        config: Any = vae.config
        self.mean, self.std = (
            torch.tensor(v).view(1, 1, -1, 1, 1) for v in (config.latents_mean, config.latents_std)
        )

    @torch.no_grad()
    def __call__(self, x: Tensor) -> np.ndarray:
        """Encode."""
        with mixed():
            mean = self.vae.quant_conv(self.vae.encoder(x)).chunk(2, dim=1)[0]
        return np.asarray(((mean.float().transpose(1, 2) - self.mean) / self.std).half())


def main() -> None:
    """Encode a split from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--capacity", type=int, default=None, help="clips that the files have room for")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    vae = AutoencoderKLWan.from_pretrained(args.vae, torch_dtype=torch.float32)
    capacity = args.capacity or args.clips
    latents = Latents(args.out, args.split, capacity)
    latents.fill(Clips(args.cache, args.split, capacity), vae, args.clips)


if __name__ == "__main__":
    main()
