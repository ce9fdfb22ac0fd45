"""Rooms in VSI-Bench's layout: `<out>/rooms/<scene>.mp4` and `<out>/test.jsonl`.

Beside it, `<out>/conversations.jsonl` holds the same questions with their answers, as a trainer reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from vega3d._utils.files import write_whole
from vega3d._utils.progress import Progress, no_progress
from vega3d.rooms.formats import writer
from vega3d.rooms.formats.writer import Row, Split
from vega3d.rooms.held_out import family_is_held_out, room_is_held_out
from vega3d.rooms.layout import make_room
from vega3d.rooms.questions import Question, make_questions
from vega3d.rooms.renderer import FPS, FRAMES, Clip, render
from vega3d.rooms.scene import ROOMS_VERSION, Room


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
    held_out: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
    indices: Sequence[int] | None = None,
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
        geometry: also write `<scene>.npz`, see `write_geometry`.
        held_out: only rooms and questions that the shipped pico host was never trained on, see `held_out.py`.
        workers: processes; more than one needs the caller to be importable (``if __name__ == ...``).
        progress: called after each scene with (done, total, skipped).
        indices: which scenes of the run; None takes the first ``scenes`` (that are held out, if so asked).
    """
    if indices is None:
        strange = (i for i in count() if room_is_held_out(make_room(writer.scene_seed(split, seed, i))))
        indices = list(islice(strange, scenes)) if held_out else range(scenes)
    settings: dict[str, Any] = {"width": width, "height": height, "frames": frames, "fps": fps}
    settings |= {"per_type": per_type, "geometry": geometry, "held_out": held_out}
    seeds = [writer.scene_seed(split, seed, index) for index in indices]
    suffixes, make = (".mp4", ".npz") if geometry else (".mp4",), partial(_make, **settings)
    settings, name = {"version": ROOMS_VERSION, **settings}, "rooms/room_{:09d}.json"
    made = writer.export_scenes(make, Path(out), name, seeds, settings, workers, progress, suffixes)
    rows = writer.numbered(scene["questions"] for scene in made)
    writer.write_lines(Path(out) / "conversations.jsonl", map(conversation_of, rows))
    return writer.write_lines(Path(out) / "test.jsonl", rows)


def describe(room: Room, clip: Clip) -> dict[str, Any]:
    """Describe a scene, JSON-ready: shell, lights, things with oriented boxes, K, poses."""
    return {
        "name": room.name,
        "seed": room.seed,
        "size": room.size,
        "lights": [asdict(light) for light in room.lights],
        "instances": [
            {"id": t.id, "category": t.category, "class": room.class_of[t.id], "colour": t.colour,
             "material": t.material, "parent": t.parent, "box": asdict(t.box),
             "motion": None if t.motion is None else asdict(t.motion),
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


def write_geometry(path: Path, clip: Clip) -> Path:
    """Write an npz without pickles: the exact content of every pixel.

    Its arrays: depth (T, H, W) float32 metres, ids and classes (T, H, W) int32, K (3, 3), poses (T, 4, 4)
    camera-to-world, normals (T, H, W, 3) int8 (127 is 1; None where the clip has none).
    """
    arrays: dict[str, Any] = {name: getattr(clip, name) for name in ("depth", "ids", "classes", "K", "poses")}
    if clip.normals is not None:
        arrays["normals"] = np.round(clip.normals * 127).astype(np.int8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    return write_whole(path, write)


def _make(mark: Path, seed: int, *, per_type: int, geometry: bool, held_out: bool, **size: Any) -> Row:
    """Write video and geometry; returns what the scene's JSON holds beside its settings."""
    room = make_room(seed)
    clip = render(room, **size, normals=geometry)
    clip.save(mark.with_suffix(".mp4"))
    if geometry:
        write_geometry(mark.with_suffix(".npz"), clip)
    questions = make_questions(room, clip, per_type=per_type)
    asked = [q.to_record() for q in questions if not held_out or family_is_held_out(q.question_type)]
    return {"scene": describe(room, clip), "questions": asked}
