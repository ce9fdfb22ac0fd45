"""Slow clips of rooms for the pico video models: rendered once into memory-mapped files, resumable.

    python -m train.pico.clips --cache CLIPS --split val --clips 160
    python -m train.pico.clips --cache CLIPS --split train --clips 3000     # may go on beside training

A clip is 17 frames of 128 x 128 pixels out of a video of 16 frames a second, the rate that Wan was made for:
a point moves less than a token (16 pixels) from one latent frame to the next in most clips. Frames are
rendered at twice the size and brought down as the branch does it. Depth and camera poses are kept beside
them, for probes and for encoders that learn from depth; the video models see only the pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vega3d.rooms import Split, make_room, render
from vega3d.rooms import scene_seed as seed_of

LENGTH, SIDE, RENDERED = 17, 128, 256
VIDEO, RATE = 96, 16.0  # frames of a whole video, frames a second
DEPTH = 32  # pixels a side of the depth maps


def smaller(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) brought to SIDE x SIDE as `vega3d.backbones.wan.backbone.prepare` does it."""
    picture = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
    picture = F.interpolate(picture, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    return picture.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


class Clips:
    """Clips of a split in a folder: memory maps `pixels`, `depth`, `poses`, and a JSON line a clip.

    Attributes:
        pixels: (capacity, 17, 128, 128, 3) uint8.
        depth: (capacity, 17, 32, 32) float16, metres.
        poses: (capacity, 17, 4, 4) float32, camera-to-world, OpenCV axes, metres.
        lines: what each clip shows: room seed and first frame; written last, so a line means a whole clip.
    """

    def __init__(self, folder: Path, split: Split, capacity: int) -> None:
        self.folder, self.split, self.capacity = Path(folder), split, capacity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pixels = self._map("pixels", (capacity, LENGTH, SIDE, SIDE, 3), np.uint8)
        self.depth = self._map("depth", (capacity, LENGTH, DEPTH, DEPTH), np.float16)
        self.poses = self._map("poses", (capacity, LENGTH, 4, 4), np.float32)
        self.lines: list[dict[str, Any]] = []

    def _map(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
        path = self.folder / f"{self.split}_{self.capacity}.{name}"
        return np.memmap(path, dtype=dtype, mode="r+" if path.exists() else "w+", shape=shape)

    @property
    def _text(self) -> Path:
        return self.folder / f"{self.split}_{self.capacity}.jsonl"

    def refresh(self) -> int:
        """Read the lines that there are; half a line at the end is not one. Returns their number."""
        if self._text.exists():
            whole = self._text.read_bytes().rpartition(b"\n")[0]
            self.lines = [json.loads(line) for line in whole.splitlines()]
        return len(self.lines)

    def fill(self, until: int) -> None:
        """Render clips up to ``until``; those that are there are kept."""
        first, start = self.refresh(), time.time()
        self._text.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        with self._text.open("a") as file:
            for index in range(first, until):
                line = self._render(index)
                file.write(json.dumps(line) + "\n")
                file.flush()
                if index % 50 == 49:
                    rate = (index + 1 - first) / (time.time() - start)
                    print(f"{self.split} {index + 1}/{until} clips, {rate:.2f}/s", flush=True)
        self.refresh()

    def _render(self, index: int) -> dict[str, Any]:
        room = make_room(seed_of(self.split, 1, index))
        rng = np.random.default_rng([room.seed, 17])
        first = int(rng.integers(VIDEO - LENGTH + 1))
        frames = list(range(first, first + LENGTH))
        clip = render(room, width=RENDERED, height=RENDERED, frames=VIDEO, fps=RATE, indices=frames)
        self.pixels[index] = smaller(clip.rgb)
        step = RENDERED // DEPTH
        self.depth[index] = clip.depth[:, step // 2 :: step, step // 2 :: step]
        self.poses[index] = clip.poses
        return {"seed": room.seed, "first": first}


def main() -> None:
    """Fill a cache from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--capacity", type=int, default=None, help="clips that the files have room for")
    args = parser.parse_args()
    Clips(args.cache, args.split, args.capacity or args.clips).fill(args.clips)


if __name__ == "__main__":
    main()
