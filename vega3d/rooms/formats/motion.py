"""Questions of motion on disk: `<out>/twins/*.mp4` with `<out>/motion.jsonl`.

Beside it, `<out>/motion_conversations.jsonl` holds the same questions with their answers, as a trainer reads
them; ``pair`` names the rows that a batch keeps together (``group_by: pair``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vega3d._utils.progress import Progress, no_progress
from vega3d.errors import ConfigError, unknown_choice
from vega3d.rooms.camera_twins import camera_pair
from vega3d.rooms.formats import writer
from vega3d.rooms.formats.writer import Row, Split
from vega3d.rooms.layout import make_room
from vega3d.rooms.object_twins import moved_pair, way_pair
from vega3d.rooms.questions import Question
from vega3d.rooms.renderer import render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import ROOMS_VERSION, Room
from vega3d.rooms.twins import DATASET, FRAMES, MIDDLE, TwinPair
from vega3d.rooms.usual import usual_question

RECORDS, CONVERSATIONS = "motion.jsonl", "motion_conversations.jsonl"
MAKERS: dict[str, Callable[[Rng, int, Room], TwinPair | None]] = {
    "camera": camera_pair,
    "moved": moved_pair,
    "way": way_pair,
}
_ATTEMPTS = 400


def make_twins(seed: int, kind: str = "camera") -> TwinPair:
    """The pair of this seed and kind: a pure function of both, like a room.

    Args:
        seed: any integer >= 0; `scene_seed` gives those of a split.
        kind: ``camera`` moves the camera, ``moved`` one of two things, ``way`` one thing in one of two ways.

    Raises:
        ConfigError: a negative seed, or an unknown kind.
    """
    if seed < 0:
        raise ConfigError("Invalid seed of twins: it is negative.", got=seed, expected="an integer >= 0")
    if kind not in MAKERS:
        raise unknown_choice("kind of twins", kind, list(MAKERS))
    rng = Rng(ROOMS_VERSION, seed, 71, list(MAKERS).index(kind))
    for attempt in range(_ATTEMPTS):
        # Seeds of splits are below 10**9, so no two splits share a room here either.
        pair = MAKERS[kind](rng, seed, make_room(seed + attempt * 10**9).at(0.0))
        if pair is not None:
            return pair
    raise AssertionError(f"no {kind} twins for seed {seed}")  # never seen in the seeds that tests go through


def export_motion(
    out: str | Path,
    pairs: int,
    seed: int = 0,
    *,
    split: Split = "test",
    width: int = 128,
    height: int = 128,
    kinds: Sequence[str] = tuple(MAKERS),
    workers: int = 1,
    progress: Progress = no_progress,
) -> Path:
    """Write ``pairs`` pairs of each kind with their questions; returns the path of `motion.jsonl`.

    Every frame is coded by itself at one quantiser, so that equal frames stay equal in the file. Complete
    pairs are kept.

    Args:
        out: folder.
        pairs: seeds; each gives one pair of each kind.
        seed: which run of rooms within the split.
        split: which range of seeds.
        width, height: pixels, even.
        kinds: of `make_twins`.
        workers: processes; more than one needs the caller to be importable.
        progress: called after each seed with (done, total, skipped).
    """
    writer.require_something(pairs, width, height, len(kinds))
    if unknown := [kind for kind in kinds if kind not in MAKERS]:
        raise unknown_choice("kind of twins", unknown[0], list(MAKERS))
    size: dict[str, Any] = {"width": width, "height": height}
    seeds = [writer.scene_seed(split, seed, index) for index in range(pairs)]
    make, settings = partial(_write_pairs, kinds=tuple(kinds), **size), [ROOMS_VERSION, width, height, *kinds]
    name = DATASET + "/twins_{:09d}.json"
    made = writer.export_scenes(make, Path(out), name, seeds, settings, workers, progress)
    rows = writer.numbered(scene["questions"] for scene in made)
    writer.write_lines(Path(out) / CONVERSATIONS, map(motion_conversation, rows))
    return writer.write_lines(Path(out) / RECORDS, rows)


def motion_conversation(record: Row) -> Row:
    """A question with its answer as a row to train on; its twin has the same ``pair``."""
    values = {name: record[name] for name in ("id", "dataset", "scene_name", "question_type", "question")}
    options = record["options"] and tuple(record["options"])
    asked = Question(**values, options=options, ground_truth=record["ground_truth"])
    clip = {"type": "video", "video": f"{asked.dataset}/{asked.scene_name}.mp4", "nframes": 1}
    return {
        "id": asked.id,
        "messages": [
            {"role": "user", "content": [clip, {"type": "text", "text": asked.prompt()}]},
            {"role": "assistant", "content": [{"type": "text", "text": asked.ground_truth}]},
        ],
        "pair": f"{record['pair']} {asked.question_type}",
    }


def _write_pairs(mark: Path, seed: int, *, kinds: Sequence[str], width: int, height: int) -> Row:
    """Write the clips of one seed; returns their questions."""
    rows: list[Row] = []
    for kind in kinds:
        pair = make_twins(seed, kind)
        for twin in sorted((0, 1), key=pair.name):
            pair.save(twin, mark.with_name(f"{pair.name(twin)}.mp4"), width=width, height=height)
            rows += pair.rows(twin)
        if kind == "camera":
            rows += _depth_rows(pair, width, height)
    return {"questions": rows}


def _depth_rows(pair: TwinPair, width: int, height: int) -> list[Row]:
    """The question of depth about the sampled frame of a camera pair, of the first name; it has no twin."""
    twin = min((0, 1), key=pair.name)
    room, poses = pair.rooms[twin], pair.poses[twin]
    clip = render(room, width=width, height=height, frames=FRAMES, poses=poses, indices=[MIDDLE])
    asked = usual_question(room, clip, 0, pair.name(twin))
    return [] if asked is None else [asked.to_record() | {"pair": pair.scene}]
