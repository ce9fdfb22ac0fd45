"""The rooms of a run: which seeds, their videos and questions, and where every token's surface lies.

Rooms are chosen by what is in them, never made to order: seeds are gone through in their order, and a room
joins the first set that it fits. The trained set and the primary set hold rooms without any of the three
things that are held out; each further set holds rooms with just one of them. This module knows no encoder
and no arm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from experiments.miniature import where
from experiments.miniature.config import Rooms, Settings
from experiments.miniature.stages import digest_of_files, read_json, write_json
from vega3d._utils.files import write_whole
from vega3d.errors import ConfigError
from vega3d.geometry import backproject
from vega3d.rooms import Room, Split, camera_path, export_rooms, make_room, render, scene_seed
from vega3d.rooms.formats.writer import write_text
from vega3d.rooms.scene import TEXTURES

HELD_OUT = {"furniture": ("monitor", "radiator"), "look": "tiles", "camera": "pan"}
CELLS, FINE = 8, 64  # cells of the geometry on a side, and the pixels that they are the mean of
QUESTIONS = "test.jsonl"
ROWS = "conversations.jsonl"
MOST = 10_000  # rooms of one seed and split


def kinds_of(room: Room) -> frozenset[str]:
    """Which of the held-out things a room has."""
    own, turning = camera_path(room, 3), camera_path(room, 3, style="pan")
    found = {
        "furniture": any(kind in room.by_category for kind in HELD_OUT["furniture"]),
        "look": TEXTURES[room.floor.texture] == HELD_OUT["look"],
        "camera": bool(np.array_equal(own, turning)),
    }
    return frozenset(name for name, there in found.items() if there)


def choose(split: Split, seed: int, wanted: dict[str, int]) -> dict[str, list[int]]:
    """Scene numbers of each set; ``wanted`` says how many.

    Raises:
        ConfigError: the split has not enough such rooms.
    """
    chosen: dict[str, list[int]] = {name: [] for name in wanted}
    for index in range(MOST):
        if all(len(chosen[name]) == count for name, count in wanted.items()):
            return chosen
        kinds = kinds_of(make_room(scene_seed(split, seed, index)))
        name = {0: next(iter(wanted)), 1: next(iter(kinds), "")}.get(len(kinds), "")
        if name in wanted and len(chosen[name]) < wanted[name]:
            chosen[name].append(index)
    raise ConfigError(
        f"The split {split} has not enough rooms.",
        got={name: len(found) for name, found in chosen.items()},
        expected=wanted,
        fix="ask for fewer rooms",
    )


def make_sets(folder: Path, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Videos, questions and geometry of every set; scenes that are there are kept."""
    counts = settings.counts
    splits: dict[Split, dict[str, int]] = {
        "train": {"train": counts["train"]},
        "test": {name: count for name, count in counts.items() if name != "train"},
    }
    sets: dict[str, Any] = {}
    for split, wanted in splits.items():
        known = read_json(folder / f"{split}.json")  # finding them takes a while
        chosen = known or choose(split, settings.rooms.seed, wanted)
        write_json(folder / f"{split}.json", chosen)
        for name, indices in chosen.items():
            say(f"[rooms] {name}: {len(indices)} rooms")
            sets[name] = _make_set(folder / name, split, name, indices, settings)
    return {"sets": sets}


def _make_set(
    folder: Path, split: Split, name: str, indices: list[int], settings: Settings
) -> dict[str, Any]:
    world = settings.rooms
    export_rooms(
        folder, len(indices), world.seed, split=split, width=world.side, height=world.side,
        frames=world.frames, fps=world.fps, per_type=world.per_type, workers=world.workers, indices=indices,
    )  # fmt: skip
    seeds = [scene_seed(split, world.seed, index) for index in indices]
    if settings.questions == "where":
        where.write(folder, QUESTIONS, ROWS, seeds, world)
    if name == "furniture":
        _keep_questions_about(folder / QUESTIONS, HELD_OUT["furniture"])
    if not (folder / "geometry.safetensors").exists():
        made = geometry([make_room(seed) for seed in seeds], world, settings.nframes)
        write_whole(folder / "geometry.safetensors", lambda part: save_file(made, part))
    rows = (folder / QUESTIONS).read_text(encoding="utf-8").splitlines()
    asked = digest_of_files(folder, QUESTIONS) + digest_of_files(folder, ROWS)
    return {"seeds": seeds, "questions": len(rows), "files": asked}


def _keep_questions_about(file: Path, kinds: tuple[str, ...] | str) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if any(kind in json.dumps(json.loads(line)["question"]) for kind in kinds)]
    write_text(file, "".join(line + "\n" for line in kept))


def host_frames(frames: int, nframes: int) -> list[int]:
    """Numbers of the frames that the host sees, as ``vega3d.media.decoding.sample_indices`` picks them."""
    picked: list[int] = torch.linspace(0, frames - 1, nframes).round().long().tolist()
    return picked


def geometry(rooms: list[Room], world: Rooms, nframes: int) -> dict[str, NDArray[np.float32]]:
    """Places of things in each cell of the host's frames, from the renderer.

    Returns:
        ``depth`` (R, T, 8, 8): mean log depth. ``points`` (R, T, 8, 8, 3): mean place in metres, in the axes
        of the first frame's camera turned level: right, ahead, up. ``world`` the same in the room's axes.
    """
    found: dict[str, list[Any]] = {"depth": [], "points": [], "world": []}
    for room in rooms:
        clip = render(
            room, width=FINE, height=FINE, frames=world.frames, fps=world.fps,
            indices=host_frames(world.frames, nframes),
        )  # fmt: skip
        pairs = zip(clip.depth, clip.poses, strict=True)
        points = np.stack([backproject(depth, clip.K, pose) for depth, pose in pairs])
        found["depth"].append(_cells(np.log(clip.depth)[..., None])[..., 0])
        found["world"].append(_cells(points))
        found["points"].append(_cells((points - clip.poses[0, :3, 3]) @ level(clip.poses[0]).T))
    return {name: np.stack(values).astype(np.float32) for name, values in found.items()}


def level(pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3, 3) rows right, ahead and up of a camera (4, 4), turned level."""
    ahead = pose[:2, 2] / np.linalg.norm(pose[:2, 2])
    return np.array([[ahead[1], -ahead[0], 0], [ahead[0], ahead[1], 0], [0, 0, 1]])


def _cells(fine: NDArray[np.floating]) -> NDArray[np.floating]:
    """(T, 64, 64, C) as means over cells (T, 8, 8, C)."""
    t, _, _, c = fine.shape
    size = FINE // CELLS
    return np.asarray(fine.reshape(t, CELLS, size, CELLS, size, c).mean((2, 4)))


def load_geometry(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The result of ``geometry`` for a set's folder."""
    made: dict[str, NDArray[np.float32]] = load_file(folder / "geometry.safetensors")
    return made


def videos_of(folder: Path, seeds: list[int]) -> list[Path]:
    """The videos of a set, in the order of its rooms."""
    return [folder / "rooms" / f"room_{seed:09d}.mp4" for seed in seeds]
