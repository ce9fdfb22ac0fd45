"""Rooms of a motion run: the nine frames of a pair of twins, and its questions with both answers in words.

A room is one file, written whole, so that an interrupted stage resumes. Twin 0 is the clip, twin 1 the clip
backwards. This module depends on no model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.miniature.motion.config import Split
from vega3d._utils.files import make_folder, write_whole
from vega3d.rooms import make_twins, scene_seed
from vega3d.rooms.camera_twins import LEAST, motions
from vega3d.rooms.twins import FRAMES, MIDDLE
from vega3d.rooms.usual import TYPE as DEPTH
from vega3d.rooms.usual import usual_question

CELLS = 5  # of depth on a side
Frames = NDArray[np.uint8]
Words = dict[str, tuple[str, str, str]]
"""Type -> question, answer of twin 0, answer of twin 1."""


@dataclass(frozen=True)
class Set:
    """Rooms of one split.

    Attributes:
        frames: (N, 9, S, S, 3).
        words: questions of each room.
        motion: (N, 2, 3) turn, aside and forward motion before the middle frame, by twin.
        depth: (N, 5, 5) metres of the middle frame.
    """

    frames: Frames
    words: list[Words]
    motion: NDArray[np.float32]
    depth: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words)

    def window(self, room: int, twin: int) -> Frames:
        """(5, S, S, 3): the frames that end at the middle one."""
        frames = self.frames[room] if twin == 0 else self.frames[room, ::-1]
        return np.ascontiguousarray(frames[: MIDDLE + 1])

    def asked(self, types: tuple[str, ...], count: int | None = None) -> list[list[str]]:
        """[id, room, type] of every question of both twins, in the order of scores."""
        return [
            [f"{room} {twin} {kind}", str(room), kind]
            for room, words in enumerate(self.words[:count])
            for twin in (0, 1)
            for kind in types
            if kind in words
        ]


def make_set(folder: Path, split: Split, run: int, count: int, side: int) -> dict[str, Any]:
    """Write the rooms that are missing; returns how many there are and how often each type is asked."""
    make_folder(folder)
    for index in range(count):
        file = folder / f"{index:04d}.npz"
        if not file.exists():
            _write(file, scene_seed(split, run, index), side)
    types = [kind for words in load_set(folder, count).words for kind in words]
    return {"rooms": count, "asked": {kind: types.count(kind) for kind in sorted(set(types))}}


def _write(file: Path, seed: int, side: int) -> None:
    pair = make_twins(seed)
    clip = pair.film(0, width=side, height=side)
    words: Words = {q.question_type: (q.question, q.word(0), q.word(1)) for q in pair.questions}
    usual = usual_question(pair.rooms[0], clip, MIDDLE, pair.scene)
    if usual is not None:
        options = dict(option.split(". ") for option in usual.options or ())
        words[DEPTH] = (usual.question, *(options[usual.ground_truth],) * 2)
    both = motions(pair.poses[0])
    arrays: dict[str, Any] = {
        "frames": clip.rgb,
        "motion": np.array([[getattr(m, kind) for kind in LEAST] for m in both], np.float32),
        "depth": _cells(clip.depth[MIDDLE]),
        "words": np.array(json.dumps(words)),
    }

    def write(part: Path) -> None:
        with part.open("wb") as opened:
            np.savez_compressed(opened, allow_pickle=False, **arrays)

    write_whole(file, write)


def _cells(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, 5) medians."""
    parts = [np.array_split(rows, CELLS, axis=1) for rows in np.array_split(depth, CELLS, axis=0)]
    return np.array([[np.median(cell) for cell in row] for row in parts], np.float32)


def load_set(folder: Path, count: int) -> Set:
    """The first ``count`` rooms of a folder."""
    rooms = []
    for index in range(count):
        with np.load(folder / f"{index:04d}.npz") as file:
            rooms.append({name: file[name] for name in file.files})
    stacked = {name: np.stack([room[name] for room in rooms]) for name in ("frames", "motion", "depth")}
    words = [{k: tuple(v) for k, v in json.loads(str(room["words"])).items()} for room in rooms]
    assert stacked["frames"].shape[1] == FRAMES
    return Set(words=words, **stacked)
