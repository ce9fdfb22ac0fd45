"""The Ames set: pairs of rooms with equal sampled frames, distinguished by parallax alone.

Decision: one thing floats in the room, near and small in one twin, far and large in the other, scaled about
the camera's eye; it shines by itself, so light gives nothing away. The camera pans about one eye and swings
aside *between* the sampled frames only. So frames at multiples of ``STEP`` show no difference, and the
frames between do. Both twins get the same questions, with different answers: text alone, and sampled frames
alone, are at chance. Named after Adelbert Ames's rooms, which deceive one eye that keeps still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d._utils.progress import Progress, no_progress
from vega3d.errors import ConfigError
from vega3d.geometry import look_at
from vega3d.rooms.camera import is_clear
from vega3d.rooms.formats import writer
from vega3d.rooms.formats.writer import Row, Split
from vega3d.rooms.furniture import COLOURS, KINDS
from vega3d.rooms.layout import make_room, toned
from vega3d.rooms.questions import LONGEST, Question
from vega3d.rooms.raycast import camera_rays
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import ROOMS_VERSION, Instance, Room, Surface, parts_in, upright_box
from vega3d.rooms.video import write_mp4

STEP = 6
"""Frames from one sampled frame to the next."""
_FLOATING = ("ball", "vase", "suitcase", "backpack", "basket", "bin")
_LOOKS = (1, 2, 5, 6)  # textures that are plainly seen
_MARGIN = 0.3  # metres between the closest points of the floating thing and of what it is compared with
_PROBE = 64  # pixels of the picture that looks for a free place


@dataclass(frozen=True)
class AmesPair:
    """Two rooms that look the same from one eye.

    Attributes:
        seed: of the pair.
        twins: the room with the thing near and small, the room with it far and large.
        eye: (x, y, z) of the camera in every sampled frame.
        heading: radians about +z from +x of the first frame.
        swing: metres to the side between sampled frames.
        target, rival: ids of the floating thing, and of what is between its two places.
        scale: size and distance of the far one over the near one's.
    """

    seed: int
    twins: tuple[Room, Room]
    eye: tuple[float, float, float]
    heading: float
    swing: float
    target: int
    rival: int
    scale: float

    def name(self, twin: int) -> str:
        """Scene name of a twin, 0 (near) or 1 (far); the name does not give away which is which."""
        return f"ames_{self.seed:09d}_{'ab'[(twin + self.seed) % 2]}"


def make_ames(seed: int) -> AmesPair:
    """The pair of this seed: a pure function of it, like a room.

    Raises:
        ConfigError: a negative seed.
    """
    if seed < 0:
        raise ConfigError("Invalid seed of a pair: it is negative.", got=seed, expected="an integer >= 0")
    rng = Rng(ROOMS_VERSION, seed, 6)
    for attempt in range(400):
        # Seeds of splits are below 10**9, so no two splits share a room here either.
        room = make_room(seed + (1 + attempt // 8) * 10**9).at(0.0)
        pair = _try_room(rng, seed, room)
        if pair is not None:
            return pair
    raise AssertionError(f"no pair for seed {seed}")  # never seen in the seeds that tests go through


def ames_path(pair: AmesPair, frames: int) -> NDArray[np.float64]:
    """(frames, 4, 4) poses: a slow pan about the eye, off it between multiples of ``STEP`` only."""
    poses = []
    for i in range(frames):
        pan = math.radians(12) * math.sin(2 * math.pi * i / max(1, frames - 1))
        angle = pair.heading + pan
        ahead = np.array([math.cos(angle), math.sin(angle), -0.12])
        aside = np.array([math.sin(angle), -math.cos(angle), 0.0])
        off = pair.swing * math.sin(math.pi * (i % STEP) / STEP) ** 2 * (1 if i // STEP % 2 else -1)
        eye = np.asarray(pair.eye) + off * aside
        poses.append(look_at(eye, eye + ahead))
    return np.stack(poses).astype(np.float64).round(9)


def film_ames(pair: AmesPair, twin: int, *, width: int = 256, height: int = 256, sampled: int = 8) -> Clip:
    """The clip of one twin; `np.linspace(0, n - 1, sampled)` are the frames that show no difference."""
    poses = ames_path(pair, (sampled - 1) * STEP + 1)
    return render(pair.twins[twin], width=width, height=height, frames=len(poses), poses=poses)


def ames_questions(pair: AmesPair, twin: int) -> list[Row]:
    """VSI-Bench rows of one twin; the other twin has the same texts, options and other answers."""
    room = pair.twins[twin]
    target, rival = (next(t for t in room.instances if t.id == i) for i in (pair.target, pair.rival))
    names = sorted((target.category, rival.category))
    nearer = names.index((target if twin == 0 else rival).category)
    which = f"Which of these objects ({', '.join(names)}) is closer to the camera in the first frame?"
    far = f"How far is the center of the {target.category} from the camera in the first frame (in meters)?"
    options = tuple(f"{letter}. {name}" for letter, name in zip("AB", names, strict=True))
    asked: list[tuple[str, str, tuple[str, ...] | None, str]] = [
        ("ames_nearer", which, options, "AB"[nearer]),
        ("ames_distance", far, None, f"{math.dist(pair.eye, target.box.centre):.1f}"),
        ("ames_size", LONGEST.format(target.category), None, str(round(100 * max(target.box.size)))),
    ]
    return [Question(0, "ames", pair.name(twin), *row).to_record() for row in asked]


def export_ames(
    out: str | Path,
    pairs: int,
    seed: int = 0,
    *,
    split: Split = "test",
    width: int = 256,
    height: int = 256,
    sampled: int = 8,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Path:
    """Write ``pairs`` pairs as `<out>/ames/*.mp4` and `<out>/ames.jsonl`; returns the path of the latter.

    Every frame is coded by itself at one quantiser, so that equal frames stay equal in the file. Complete
    pairs are kept. The arguments are those of `export_rooms` and `film_ames`.
    """
    size: dict[str, Any] = {"width": width, "height": height, "sampled": sampled}
    seeds = [writer.scene_seed(split, seed, index) for index in range(pairs)]
    make, settings = partial(_write_pair, **size), [ROOMS_VERSION, *size.values(), STEP]
    made = writer.export_scenes(make, Path(out), "ames/ames_{:09d}.json", seeds, settings, workers, progress)
    rows = writer.numbered(scene["questions"] for scene in made)
    return writer.write_lines(Path(out) / "ames.jsonl", rows)


def _write_pair(mark: Path, seed: int, **size: int) -> Row:
    """Write the videos of both twins; returns their questions."""
    pair, rows = make_ames(seed), []
    for twin in sorted((0, 1), key=pair.name):
        clip, tag = film_ames(pair, twin, **size), f"vega3d-ames/{ROOMS_VERSION}/{seed}"
        write_mp4(mark.with_name(f"{pair.name(twin)}.mp4"), clip.rgb, clip.fps, comment=tag, intra=True)
        rows += ames_questions(pair, twin)
    return {"questions": rows}


def _try_room(rng: Rng, seed: int, room: Room) -> AmesPair | None:
    """A place for the eye and for both twins' things in this room, drawn once."""
    heading, scale, near = rng.real(-math.pi, math.pi), rng.real(1.8, 3.0), rng.real(0.75, 1.1)
    # With the back to a wall, so that there is room ahead.
    ahead = (math.cos(heading), math.sin(heading))
    back = min(side / 2 / max(1e-6, abs(t)) for side, t in zip(room.size, ahead, strict=False))
    x, y = (-(back - 0.75) * t for t in ahead)
    eye = (round(x, 3), round(y, 3), 1.5)
    aim = heading + math.radians(rng.real(-14, 14))
    ray = np.array([math.cos(aim), math.sin(aim), rng.real(-0.15, 0.05)])
    ray /= np.linalg.norm(ray)
    category = rng.pick([n for n in _FLOATING if n not in room.by_category] or ["ball"])
    thing = _floating(rng, category, len(room.instances) + 1, np.asarray(eye) + near * ray, near)
    swing = rng.real(0.15, 0.25)
    if category in room.by_category or not is_clear(room, np.asarray([eye]), 0.15 + swing):
        return None
    far = scaled_about(thing, eye, scale)
    twins = tuple(replace(room, instances=(*room.instances, one), shadows=False) for one in (thing, far))
    pair = AmesPair(seed, (twins[0], twins[1]), eye, round(heading, 6), swing, thing.id, 0, scale)
    rival = _rival(pair, room, scale * (near + max(thing.box.size)))
    return None if rival is None else replace(pair, rival=rival)


def _rival(pair: AmesPair, room: Room, farthest: float) -> int | None:
    """A single thing, plainly seen, between the two places; None if there is none or the view is blocked."""
    pose = ames_path(pair, 1)
    rooms = (replace(room, shadows=False), *pair.twins)
    probes = [render(each, width=_PROBE, height=_PROBE, frames=1, poses=pose) for each in rooms]
    bare, near, far = probes
    mask = near.ids[0] == pair.target
    cut_off = mask[[0, -1]].any() or mask[:, [0, -1]].any()
    if mask.sum() < 25 or cut_off or (far.ids != near.ids).any():
        return None
    if bare.depth[0][_wider(mask)].min() < farthest:
        return None
    # By what the picture shows: a thing may reach out of it towards the camera.
    longer = np.linalg.norm(camera_rays(near.K, pose[0], _PROBE, _PROBE).d, axis=0)
    metres = [clip.depth[0] * longer for clip in (near, far)]
    low, high = (float(picture[mask].min()) for picture in metres)
    for things in room.by_category.values():
        seen = metres[0][near.ids[0] == things[0].id]
        if len(things) == 1 and len(seen) >= 20 and low + _MARGIN < seen.min() < high - _MARGIN:
            return things[0].id
    return None


def _wider(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and the pixels next to it."""
    wide = mask.copy()
    for axis, by in ((0, 1), (0, -1), (1, 1), (1, -1)):
        wide |= np.roll(mask, by, axis)
    return wide


def scaled_about(thing: Instance, eye: tuple[float, float, float], scale: float) -> Instance:
    """The thing as it looks the same from ``eye``: ``scale`` times as far and as large, texture and all."""

    def grown(box: Any) -> Any:
        centre = [e + scale * (c - e) for c, e in zip(box.centre, eye, strict=True)]
        return upright_box(centre, [scale * s for s in box.size], box.yaw)

    def coarser(s: Surface) -> Surface:
        phase = (s.phase[0] * scale, s.phase[1] * scale, s.phase[2] * scale)
        return replace(s, period=s.period * scale, phase=phase)

    parts = tuple(replace(p, box=grown(p.box), surface=coarser(p.surface)) for p in thing.primitives)
    return replace(thing, box=grown(thing.box), primitives=parts)


def _floating(rng: Rng, category: str, number: int, centre: NDArray[np.floating], near: float) -> Instance:
    """A thing in the air that shines by itself, about 14 to 20 degrees large from ``near`` metres."""
    kind, colour = KINDS[category], rng.pick(KINDS[category].colours)
    longest = near * rng.real(0.25, 0.35)
    ratio = [rng.real(*span) for span in kind.ratio]
    if kind.round:
        ratio[1] = ratio[0]
    box = upright_box(list(centre), [longest * r / max(ratio) for r in ratio], rng.real(-math.pi, math.pi))
    texture, period = rng.pick(_LOOKS), longest * rng.real(0.2, 0.4)
    surfaces = []
    for part in kind.parts:
        # Parts differ in brightness, or a thing without shading would be a blot.
        tone = toned(COLOURS[part.colour or colour], (part.tint,) * 3)
        contrast = 0.0 if part.plain else 0.35
        surfaces.append(Surface(tone, texture, period, contrast, (0.1, 0.2, 0.3), glow=1.0))
    return Instance(number, category, colour, box, parts_in(kind, box, surfaces), "plastic")
