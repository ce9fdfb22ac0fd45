"""Training data of the pico host: rooms of world 2, rendered once into a memory-mapped cache.

    python -m train.pico.data --cache DIR --scenes 6000 --split train     # fills the cache, resumable

Decision: a scene is rendered at full size, degraded as a lossy video would, and resized by the *same* video
processor as at inference; the cache holds those uint8 pixels, so training sees what inference sees. Besides
the questions a scene keeps, for every visual token, what is in it and where (targets of a helper loss that
is dropped after training).
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vega3d.geometry import backproject
from vega3d.rooms import Clip, Room, Split, make_chat_questions, make_questions, make_room, render
from vega3d.rooms import scene_seed as seed_of
from vega3d.rooms.furniture import CATEGORIES, COLOURS
from vega3d.rooms.held_out import family_is_held_out, room_is_held_out
from vega3d.rooms.renderer import FRAMES

FRAMES_SEEN, SIDE, GRID = 8, 140, 5  # frames a clip, pixels after the processor, visual tokens a side
Row = tuple[str, str, str]  # type, prompt, answer
TOKENS = FRAMES_SEEN // 2 * GRID * GRID
KINDS_END = 1 + len(CATEGORIES)
SHARES = KINDS_END + len(COLOURS)
HELPERS = SHARES + 4  # shell, kinds, colours, log depth, xyz
PER_TYPE, PER_FAMILY = 3, 6  # questions kept of one type or family


def sampled_indices(rng: np.random.Generator | None = None) -> np.ndarray:
    """Eight frame indices (8,): evenly from first to last; in training sometimes with another phase."""
    if rng is None or rng.random() < 0.5:
        return np.linspace(0, FRAMES - 1, FRAMES_SEEN).round().astype(int)
    step = FRAMES // FRAMES_SEEN
    return np.arange(FRAMES_SEEN) * step + int(rng.integers(step))


def like_video(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames (T, H, W, 3) after a JPEG round trip: the chroma loss and ringing of a lossy video."""
    out = np.empty_like(rgb)
    quality = int(rng.integers(80, 97))
    for i, frame in enumerate(rgb):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        out[i] = np.asarray(Image.open(buffer))
    return out


def helper_targets(room: Room, clip: Clip) -> np.ndarray:
    """(TOKENS, HELPERS) float16: shares of kinds and colours in each visual token, log depth, xyz.

    xyz is in the axes of the first camera turned level, in metres / 4.
    """
    pick = ((np.arange(SIDE) + 0.5) * clip.ids.shape[1] / SIDE).astype(int)
    ids, depth = clip.ids[:, pick][:, :, pick], clip.depth[:, pick][:, :, pick]
    kind = np.array([0, *(1 + CATEGORIES.index(thing.category) for thing in room.instances)])
    colour = np.array([0, *(1 + list(COLOURS).index(thing.colour) for thing in room.instances)])
    kinds = shares(kind[ids], KINDS_END)
    colours = shares(colour[ids], 1 + len(COLOURS))[:, 1:]
    places = token_means(np.concatenate([np.log(depth)[..., None], level_points(clip, depth)], axis=-1))
    return np.concatenate([kinds, colours, places], axis=-1).astype(np.float16)


def level_points(clip: Clip, depth: np.ndarray) -> np.ndarray:
    """(8, SIDE, SIDE, 3): right, ahead, up of the first camera turned level, in metres / 4."""
    K = clip.K * SIDE / clip.ids.shape[1]
    K[2, 2] = 1
    points = np.stack([backproject(d, K, pose) for d, pose in zip(depth, clip.poses, strict=True)])
    x, y = clip.poses[0, :2, 2] / np.linalg.norm(clip.poses[0, :2, 2])
    level = np.array([[y, -x, 0], [x, y, 0], [0, 0, 1]])
    return (points - clip.poses[0, :3, 3]) @ level.T / 4


def token_means(dense: np.ndarray) -> np.ndarray:
    """(8, SIDE, SIDE, C) -> (TOKENS, C): the mean over what one visual token covers."""
    cell = SIDE // GRID
    blocks = dense.reshape(FRAMES_SEEN // 2, 2, GRID, cell, GRID, cell, -1)
    return blocks.mean(axis=(1, 3, 5)).reshape(TOKENS, -1)


def shares(labels: np.ndarray, count: int) -> np.ndarray:
    """(8, SIDE, SIDE) labels below ``count`` -> (TOKENS, count) shares of each label in a visual token."""
    cell = SIDE // GRID
    blocks = labels.reshape(FRAMES_SEEN // 2, 2, GRID, cell, GRID, cell).transpose(0, 2, 4, 1, 3, 5)
    flat = blocks.reshape(TOKENS, -1) + count * np.arange(TOKENS)[:, None]
    return np.bincount(flat.ravel(), minlength=TOKENS * count).reshape(TOKENS, count) / blocks[0, 0, 0].size


def make_scene(split: Split, index: int, resize: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Pixels (8, 140, 140, 3), helper targets and the JSON (questions) of one scene; None: held out."""
    room = make_room(seed_of(split, 0, index))
    if room_is_held_out(room):
        return None
    rng = np.random.default_rng([room.seed, 99])
    chosen = sampled_indices(rng if split == "train" else None)
    clip = render(room, indices=list(chosen))
    pixels = resize(like_video(clip.rgb, rng))
    facts = {"index": index, "indices": chosen.tolist(), "fps": clip.fps, "asked": asked(room, clip)}
    return pixels, helper_targets(room, clip), facts


def asked(room: Room, clip: Clip) -> list[Row]:
    """All (type, prompt, answer) of a scene that training may know."""
    vsi = make_questions(room, clip, per_type=PER_TYPE)
    plain = make_chat_questions(room, clip, per_family=PER_FAMILY)
    rows = [(q.question_type, q.prompt(), q.ground_truth) for q in vsi]
    rows += [(q.family, q.question, q.answer) for q in plain]
    return [row for row in rows if not family_is_held_out(row[0])]


class Cache:
    """Scenes of a split in DIR: `pixels`, `helpers` (memory maps) and one JSON line a scene."""

    def __init__(self, folder: Path, split: Split, capacity: int) -> None:
        self.folder, self.split, self.capacity = Path(folder), split, capacity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pixels = self._map("pixels", (capacity, FRAMES_SEEN, SIDE, SIDE, 3), np.uint8)
        self.helpers = self._map("helpers", (capacity, TOKENS, HELPERS), np.float16)
        self.lines: list[dict[str, Any]] = []
        self._offset = 0

    def _map(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
        path = self.folder / f"{self.split}_{self.capacity}.{name}"
        return np.memmap(path, dtype=dtype, mode="r+" if path.exists() else "w+", shape=shape)

    @property
    def _text(self) -> Path:
        return self.folder / f"{self.split}_{self.capacity}.jsonl"

    def refresh(self) -> int:
        """Read lines that the renderer has added since; number of scenes there are."""
        if self._text.exists():
            with self._text.open("rb") as file:
                file.seek(self._offset)
                for raw in file:
                    if not raw.endswith(b"\n"):
                        break
                    self.lines.append(json.loads(raw))
                    self._offset += len(raw)
        return len(self.lines)

    def fill(self, resize: Any, until: int) -> None:
        """Render scenes up to ``until``; scenes that are there are kept. The line is written last."""
        start, first = time.time(), self.refresh()
        if self._text.exists() and self._text.stat().st_size > self._offset:
            with self._text.open("r+b") as file:  # a killed writer left half a line
                file.truncate(self._offset)
        index = self.lines[-1]["index"] + 1 if self.lines else 0
        slot = first
        with self._text.open("a") as file:
            while slot < until:
                made = make_scene(self.split, index, resize)
                index += 1
                if made is None:
                    continue
                self.pixels[slot], self.helpers[slot], facts = made
                slot += 1
                file.write(json.dumps(facts) + "\n")
                file.flush()
                if slot % 200 == 0:
                    rate = (slot - first) / (time.time() - start)
                    print(f"{self.split} {slot}/{until} scenes, {rate:.1f}/s", flush=True)


def processor_resize() -> Any:
    """The resize of the real video processor as a function of uint8 frames (T, H, W, 3)."""
    import torch

    import vega3d._utils.torchvision  # noqa: F401
    from train.pico.model import video_processor

    processor = video_processor()

    def resize(frames: np.ndarray) -> np.ndarray:
        video = torch.from_numpy(frames).permute(0, 3, 1, 2)[None]
        out = processor.resize(video, size=processor.size, resample=processor.resample, factor=28)
        return out[0].permute(0, 2, 3, 1).numpy()

    return resize


def main() -> None:
    """Fill a cache from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--capacity", type=int, default=None)
    parser.add_argument("--split", choices=["train", "val"], default="train")
    args = parser.parse_args()
    Cache(args.cache, args.split, args.capacity or args.scenes).fill(processor_resize(), args.scenes)


if __name__ == "__main__":
    main()
