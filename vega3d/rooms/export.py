"""Export rooms to disk in VSI-Bench's layout: `<out>/rooms/<scene>.mp4` and `<out>/test.jsonl`.

Beside it, `<out>/conversations.jsonl` holds the same questions with their answers, as a trainer reads them.

Decision: one scene is complete when its JSON exists, and the JSON is written last; so a killed export
resumes by skipping complete scenes, and `test.jsonl` is assembled from the JSON files at the end. Scenes are
independent, so processes share nothing and any number of them writes the same bytes. Splits are disjoint
ranges of seeds: no scene can be in two of them, whatever is asked for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vega3d.errors import ConfigError, unknown_choice
from vega3d.files import make_folder, sweep_parts, write_whole
from vega3d.rooms.held_out import family_is_held_out, room_is_held_out
from vega3d.rooms.layout import make_room
from vega3d.rooms.questions import Question, make_questions
from vega3d.rooms.renderer import FPS, FRAMES, Clip, render
from vega3d.rooms.scene import ROOMS_VERSION, Room
from vega3d.rooms.video import rooms_tag, write_mp4
from vega3d.rooms.workers import run_all

Split = Literal["train", "val", "test"]
Progress = Callable[[int, int, bool], None]
_SPLIT_SIZE = 10**8
_PER_SEED = 10**4


@dataclass(frozen=True)
class Settings:
    """All that decides the bytes of a scene beside its seed; scenes of other settings are made again."""

    version: int = ROOMS_VERSION
    width: int = 256
    height: int = 256
    frames: int = FRAMES
    fps: float = FPS
    per_type: int = 2
    geometry: bool = False
    held_out: bool = False


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
            fix="pass --seed 0, and at most 10000 scenes a seed",
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
    held_out: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
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
        indices = _held_out(split, seed, scenes) if held_out else range(scenes)
    folder = make_folder(Path(out) / "rooms")
    for place in (folder, folder.parent):
        sweep_parts(place)
    settings = Settings(ROOMS_VERSION, width, height, frames, fps, per_type, geometry, held_out)
    jobs = [(folder, scene_seed(split, seed, index), settings) for index in indices]
    records: dict[int, list[dict[str, Any]]] = {}
    for done, (index, (questions, skipped)) in enumerate(run_all(_one_scene, jobs, workers), start=1):
        records[index] = questions
        if progress is not None:
            progress(done, len(jobs), skipped)
    rows = [record for index in sorted(records) for record in records[index]]
    lines = [json.dumps({**record, "id": number}) for number, record in enumerate(rows)]
    told = [json.dumps(conversation_of({**record, "id": number})) for number, record in enumerate(rows)]
    write_text(Path(out) / "conversations.jsonl", "".join(line + "\n" for line in told))
    return write_text(Path(out) / "test.jsonl", "".join(line + "\n" for line in lines))


def describe(room: Room, clip: Clip) -> dict[str, Any]:
    """What a plan or a contact sheet needs, JSON-ready: shell, oriented boxes, K, poses, coverage."""
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
    """An npz without pickles: what every pixel shows, exactly.

    Its arrays: depth (T, H, W) float32 metres, ids and classes (T, H, W) int32, K (3, 3), poses (T, 4, 4)
    camera-to-world, normals (T, H, W, 3) int8 (127 is 1; None where the clip has none).
    """
    arrays: dict[str, Any] = {"depth": clip.depth, "ids": clip.ids, "classes": clip.classes}
    arrays |= {"K": clip.K, "poses": clip.poses}
    if clip.normals is not None:
        arrays["normals"] = np.round(clip.normals * 127).astype(np.int8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    return write_whole(path, write)


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _held_out(split: Split, seed: int, scenes: int) -> list[int]:
    """The first scenes of a run whose style is held out."""
    rooms = ((i, make_room(scene_seed(split, seed, i))) for i in itertools.count())
    return [i for i, _ in itertools.islice((one for one in rooms if room_is_held_out(one[1])), scenes)]


def _one_scene(folder: Path, seed: int, settings: Settings) -> tuple[list[dict[str, Any]], bool]:
    """The questions of one scene, made or read; and whether it was there."""
    room = make_room(seed, settings.version)
    scene = _read_complete(folder, room, settings)
    if scene is not None:
        return scene["questions"], True
    clip = render(
        room, width=settings.width, height=settings.height, frames=settings.frames, fps=settings.fps,
        normals=settings.geometry,
    )  # fmt: skip
    return _write_scene(folder, room, clip, settings)["questions"], False


def _write_scene(folder: Path, room: Room, clip: Clip, settings: Settings) -> dict[str, Any]:
    """Video first, geometry next, JSON last: the JSON is the mark of a complete scene."""
    write_mp4(folder / f"{room.name}.mp4", clip.rgb, clip.fps, comment=rooms_tag(room.seed, room.version))
    if settings.geometry:
        write_geometry(folder / f"{room.name}.npz", clip)
    questions = make_questions(room, clip, per_type=settings.per_type)
    if settings.held_out:
        questions = [question for question in questions if family_is_held_out(question.question_type)]
    scene = {
        "settings": asdict(settings),
        "scene": describe(room, clip),
        "questions": [question.to_record() for question in questions],
    }
    write_text(folder / f"{room.name}.json", json.dumps(scene))
    return scene


def _read_complete(folder: Path, room: Room, settings: Settings) -> dict[str, Any] | None:
    """The scene's JSON if everything of it is there with the same settings."""
    suffixes = [".json", ".mp4"] + ([".npz"] if settings.geometry else [])
    if not all((folder / (room.name + suffix)).is_file() for suffix in suffixes):
        return None
    try:
        scene: dict[str, Any] = json.loads((folder / f"{room.name}.json").read_text(encoding="utf-8"))
        return scene if scene["settings"] == asdict(settings) else None
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
