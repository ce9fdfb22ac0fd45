"""Export rooms to disk in VSI-Bench's layout: `<out>/rooms/<scene>.mp4` and `<out>/test.jsonl`.

Beside it, `<out>/conversations.jsonl` holds the same questions with their answers, as a trainer reads them.

Decision: one scene is complete when its JSON exists, and the JSON is written last; so a killed export
resumes by skipping complete scenes, and `test.jsonl` is assembled from the JSON files at the end. Splits
are disjoint ranges of seeds: no scene can be in two of them, whatever is asked for.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vega3d.errors import ConfigError, unknown_choice
from vega3d.rooms.questions import Question, make_questions
from vega3d.rooms.renderer import FPS, FRAMES, Clip, render
from vega3d.rooms.scene import ROOMS_VERSION, Room, make_room
from vega3d.rooms.video import rooms_tag, write_mp4

Split = Literal["train", "val", "test"]
_SPLIT_SIZE = 10**8
_PER_SEED = 10**4


def scene_seed(split: Split, seed: int, index: int) -> int:
    """Room seed of the ``index``-th scene of run ``seed`` in a split; splits never share one."""
    splits = get_args(Split)
    if split not in splits:
        raise unknown_choice("split", split, splits)
    if not (0 <= seed < _SPLIT_SIZE // _PER_SEED and 0 <= index < _PER_SEED):
        raise ConfigError(
            "Seed or scene index out of range.",
            got=f"seed {seed}, scene {index}",
            expected="both in 0..9999",
            fix="pass --seed 0",
        )
    return int(splits.index(split) * _SPLIT_SIZE + seed * _PER_SEED + index)


def export_rooms(
    out: str | Path,
    scenes: int,
    seed: int = 0,
    *,
    split: Split = "test",
    width: int = 256,
    height: int = 256,
    frames: int = FRAMES,
    fps: float = FPS,
    per_type: int = 2,
    geometry: bool = False,
    progress: Callable[[int, int, bool], None] | None = None,
) -> Path:
    """Write ``scenes`` rooms as videos, scene JSON and questions; returns the path of `test.jsonl`.

    Args:
        out: folder; complete scenes in it are kept as they are.
        scenes: how many rooms.
        seed: which run of rooms within the split.
        split: which range of seeds.
        width, height: pixels, even.
        frames, fps: length and rate of the videos.
        per_type: most questions of one type about one room.
        geometry: also write `<scene>.npz` with depth (T, H, W) float32 and ids (T, H, W) int32.
        progress: called after each scene with (done, total, skipped).
    """
    folder = Path(out) / "rooms"
    folder.mkdir(parents=True, exist_ok=True)
    # Settings are part of "complete": a scene of other settings is made again, never mixed in.
    settings: dict[str, object] = {
        "version": ROOMS_VERSION, "width": width, "height": height, "frames": frames, "fps": fps,
        "per_type": per_type, "geometry": geometry,
    }  # fmt: skip
    records: list[dict[str, object]] = []
    for index in range(scenes):
        room = make_room(scene_seed(split, seed, index))
        scene = _read_complete(folder, room, settings)
        skipped = scene is not None
        if scene is None:
            clip = render(room, width=width, height=height, frames=frames, fps=fps)
            scene = _write_scene(folder, room, clip, settings)
        records += scene["questions"]
        if progress is not None:
            progress(index + 1, scenes, skipped)
    lines = [json.dumps({**record, "id": number}) for number, record in enumerate(records)]
    told = [json.dumps(conversation_of({**record, "id": number})) for number, record in enumerate(records)]
    _write_text(Path(out) / "conversations.jsonl", "".join(line + "\n" for line in told))
    return _write_text(Path(out) / "test.jsonl", "".join(line + "\n" for line in lines))


def describe(room: Room, clip: Clip) -> dict[str, object]:
    """What a plan or a contact sheet needs, JSON-ready: shell, oriented boxes, K, poses, coverage."""
    return {
        "name": room.name,
        "seed": room.seed,
        "size": room.size,
        "light": room.light,
        "instances": [
            {"id": t.id, "category": t.category, "colour": t.colour, "box": asdict(t.box),
             "primitives": [{"shape": p.shape, "box": asdict(p.box)} for p in t.primitives]}
            for t in room.instances
        ],
        "K": clip.K.tolist(),
        "poses": clip.poses.round(9).tolist(),
        "frame_indices": clip.frame_indices.tolist(),
    }  # fmt: skip


def conversation_of(record: Mapping[str, Any]) -> dict[str, object]:
    """A question of `test.jsonl` with its answer, as `vega3d.data` reads rows to train on."""
    asked = Question(**{**record, "options": record["options"] and tuple(record["options"])})
    return {
        "id": asked.id,
        "video": f"{asked.dataset}/{asked.scene_name}.mp4",
        "conversations": [
            {"from": "human", "value": f"<video>\n{asked.prompt()}"},
            {"from": "gpt", "value": asked.ground_truth},
        ],
    }


def _write_scene(
    folder: Path, room: Room, clip: Clip, settings: dict[str, object]
) -> dict[str, list[dict[str, object]]]:
    """Video first, geometry next, JSON last: the JSON is the mark of a complete scene."""
    write_mp4(folder / f"{room.name}.mp4", clip.rgb, clip.fps, comment=rooms_tag(room.seed))
    if settings["geometry"]:
        _write_geometry(folder / f"{room.name}.npz", clip)
    questions = make_questions(room, clip, per_type=int(str(settings["per_type"])))
    scene = {
        "settings": settings,
        "scene": describe(room, clip),
        "questions": [question.to_record() for question in questions],
    }
    _write_text(folder / f"{room.name}.json", json.dumps(scene))
    return scene  # type: ignore[return-value]


def _read_complete(
    folder: Path, room: Room, settings: dict[str, object]
) -> dict[str, list[dict[str, object]]] | None:
    """The scene's JSON if everything of it is there with the same settings."""
    suffixes = [".json", ".mp4"] + ([".npz"] if settings["geometry"] else [])
    if not all((folder / (room.name + suffix)).is_file() for suffix in suffixes):
        return None
    try:
        scene = json.loads((folder / f"{room.name}.json").read_text())
        return scene if scene["settings"] == settings else None
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _write_geometry(path: Path, clip: Clip) -> None:
    scratch = path.with_suffix(".npz.part")
    with scratch.open("wb") as file:
        np.savez_compressed(file, depth=clip.depth, ids=clip.ids)
    os.replace(scratch, path)


def _write_text(path: Path, text: str) -> Path:
    handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.chmod(scratch, 0o644)
    os.replace(scratch, path)
    return path
