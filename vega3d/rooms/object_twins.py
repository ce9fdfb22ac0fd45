"""Object twins: things that pass through their place at the sampled frame, seen by a camera that holds still.

``moved``: one of two things moves in one twin, the other thing in the other twin. ``way``: one thing moves to
the left in one twin, to the right in the other. In the sampled frame every thing is where it stands in both
twins, so the pictures are equal. A thing moves by at least `LEAST_METRES` and `LEAST_DEGREES` in the quarter
second before that frame, across the line of sight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import Array, footprint
from vega3d.rooms.camera import camera_path, is_clear
from vega3d.rooms.facts import Visibility, distance
from vega3d.rooms.furniture import KINDS
from vega3d.rooms.renderer import render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Motion, Room
from vega3d.rooms.twins import FRAMES, TwinPair, TwinQuestion

LEAST_METRES, LEAST_DEGREES = 0.12, 2.0
"""Smallest motion in a quarter second that is asked about; both hold."""
MOST_METRES = 0.3
LARGEST = 1.3  # metres on the longest side of a thing that is moved
SMALLEST, MOST = 0.01, 0.3  # share of the picture that it covers
MOMENTS = 8  # of the camera path that are tried
_PROBE, _GAP = 48, 0.03  # pixels of the picture that looks for things; metres to others while it moves
By = tuple[float, float, float]


def moved_pair(rng: Rng, seed: int, room: Room) -> TwinPair | None:
    """Twins in which one of two things moves; None if no moment shows two that can."""
    for pose, movable in _moments(rng, room):
        movers = rng.some(movable, 2)
        if len(movers) == 2:
            rooms = [_moving(room, thing, by) for thing, by in movers]
            names = [thing.category for thing, _ in movers]
            text = f"Which of these objects is moving: the {' or the '.join(sorted(names))}?"
            one = rng.whole(0, 2)
            still = f"Is the {names[one]} moving or standing still?"
            states = ["moving", "still"] if one == 0 else ["still", "moving"]
            questions = (
                TwinQuestion.drawn(rng, "object_moved", text, names),
                TwinQuestion.drawn(rng, "object_moving", still, states),
            )
            return _pair(seed, "moved", rooms, pose, questions)
    return None


def way_pair(rng: Rng, seed: int, room: Room) -> TwinPair | None:
    """Twins in which one thing moves to the left or to the right; None if no moment shows one that can."""
    for pose, movable in _moments(rng, room):
        if movable:
            thing, by = rng.pick(movable)
            ways = [by, (-by[0], -by[1], 0.0)]
            words = ["right" if np.dot(way, pose[:3, 0]) > 0 else "left" for way in ways]
            text = f"Is the {thing.category} moving to the left or to the right, as seen by the camera?"
            asked = TwinQuestion.drawn(rng, "object_way", text, words)
            return _pair(seed, "way", [_moving(room, thing, way) for way in ways], pose, (asked,))
    return None


def _pair(
    seed: int, kind: str, rooms: Sequence[Room], pose: Array, questions: tuple[TwinQuestion, ...]
) -> TwinPair:
    poses = np.repeat(pose[None], FRAMES, axis=0)
    return TwinPair(seed, kind, (rooms[0], rooms[1]), (poses, poses), questions)


def _moments(rng: Rng, room: Room) -> Iterator[tuple[Array, list[tuple[Instance, By]]]]:
    """Some poses of the room's path in random order, each with the things that can be moved in view of it."""
    bare = replace(room, shadows=False)
    for pose in rng.some(camera_path(room, 4 * MOMENTS)[rng.whole(0, 4) :: 4]):
        clip = render(bare, width=_PROBE, height=_PROBE, frames=1, poses=pose[None])
        visible = Visibility(bare, clip.ids, SMALLEST)
        things = [
            t for t in visible.unique.values() if visible.coverage[0, t.id] <= MOST and _can_move(bare, t)
        ]
        drawn = [(thing, _drawn_way(rng, thing, pose)) for thing in things]
        yield pose, [(t, by) for t, by in drawn if by is not None and _is_free(bare, t, by, pose)]


def _can_move(room: Room, thing: Instance) -> bool:
    """True for a thing of handy size that stands on the floor and carries nothing."""
    stands = KINDS[thing.category].place in ("floor", "wall") and thing.parent == 0
    return stands and max(thing.box.size) <= LARGEST and all(t.parent != thing.id for t in room.instances)


def _drawn_way(rng: Rng, thing: Instance, pose: Array) -> By | None:
    """Metres on the floor from first to last frame; half of it in the quarter second that is asked about."""
    metres = math.dist(thing.box.centre[:2], pose[:2, 3])
    across = max(LEAST_METRES, metres * math.tan(math.radians(LEAST_DEGREES)))
    if across > MOST_METRES:
        return None
    right, ahead = pose[:2, 0], pose[:2, 2]
    way = rng.pick((-1, 1)) * rng.real(across, MOST_METRES) * right + rng.real(-0.5, 0.5) * across * ahead
    # Even micrometres, so that half of the way is exact and the thing is in its place in the middle.
    x, y = (2 * round(float(v), 6) for v in way)
    return (x, y, 0.0)


def _is_free(room: Room, thing: Instance, by: By, pose: Array) -> bool:
    """True if the thing stays off walls, other things and the camera from end to end."""
    moving = _moving(room, thing, by)
    half = np.asarray(room.size[:2]) / 2 - 0.02
    reach = _GAP + math.hypot(*by) + math.hypot(*thing.box.size) / 2
    others = [o for o in room.instances if o.id != thing.id and _near(thing, o, reach)]
    for when in (0.0, 0.25, 0.75, 1.0):
        placed = moving.instances[_place(moving, thing)].at(when)
        if (np.abs(_outline(placed)) > half).any() or any(distance(placed, o) < _GAP for o in others):
            return False
    return is_clear(moving, np.asarray(pose[None, :3, 3], dtype=np.float64))


def _near(thing: Instance, other: Instance, reach: float) -> bool:
    """True if the other thing may come within reach of the thing's center; most do not."""
    return math.dist(thing.box.centre, other.box.centre) <= reach + math.hypot(*other.box.size) / 2


def _outline(thing: Instance) -> NDArray[np.floating]:
    return np.asarray(footprint(thing.box))


def _moving(room: Room, thing: Instance, by: By) -> Room:
    """The room without shadows, in which the thing passes through its place in the middle of the clip."""
    back: By = (-by[0] / 2, -by[1] / 2, 0.0)
    start = replace(thing, motion=Motion(back, 0.0, 1e-9)).at(1.0)  # the thing, half of the way back
    instances = list(room.instances)
    instances[_place(room, thing)] = replace(start, motion=Motion(by, 0.0, 1.0))
    return replace(room, instances=tuple(instances), shadows=False)


def _place(room: Room, thing: Instance) -> int:
    return next(number for number, other in enumerate(room.instances) if other.id == thing.id)
