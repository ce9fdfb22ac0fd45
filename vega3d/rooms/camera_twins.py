"""Camera twins: a quarter second before a frame, and the quarter second after it run backwards.

A clip of the room's own camera path and the same clip reversed share the frame in the middle. Whatever the
camera does before that frame, the reversed clip does the opposite. A type is asked if the motion has the same
sign on both sides of the frame and is large enough on both, see `LEAST`. Nothing in the room moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vega3d.geometry import Array
from vega3d.rooms.camera import camera_path
from vega3d.rooms.facts import turn
from vega3d.rooms.renderer import render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room
from vega3d.rooms.twins import FPS, FRAMES, MIDDLE, TwinPair, TwinQuestion

LEAST = {"camera_turn": 1.5, "camera_aside": 0.03, "camera_forward": 0.03}
"""Smallest motion in a quarter second that is asked about: degrees, metres, metres."""
TEXTS = {
    "camera_turn": ("Is the camera turning to the left or to the right?", ("left", "right")),
    "camera_aside": ("Is the camera moving sideways to the left or to the right?", ("left", "right")),
    "camera_forward": ("Is the camera moving forward or backward?", ("forward", "backward")),
}
SECONDS = 6  # of the path that moments are taken from
FURNISHED = 0.1  # share of the picture that things have to cover, or the walls alone would show the motion
_PROBE = 32  # pixels of that picture


@dataclass(frozen=True)
class CameraMotion:
    """Motion of a camera between two poses, in the axes of the second one.

    Attributes:
        camera_turn: degrees about the vertical; left is positive.
        camera_aside: metres across the line of sight; left is positive.
        camera_forward: metres along the line of sight on the floor; forward is positive.
    """

    camera_turn: float
    camera_aside: float
    camera_forward: float

    @classmethod
    def between(cls, start: Array, end: Array) -> CameraMotion:
        """From pose ``start`` (4, 4) to pose ``end`` (4, 4), camera-to-world."""
        before, after = start[:2, 2], end[:2, 2]
        moved = end[:2, 3] - start[:2, 3]
        ahead = after / max(float(np.linalg.norm(after)), 1e-9)
        left = np.array([-ahead[1], ahead[0]])
        return cls(turn(before, after), float(moved @ left), float(moved @ ahead))


def motions(poses: Array) -> tuple[CameraMotion, CameraMotion]:
    """Motion that ends at the middle of (9, 4, 4) poses, played forwards and backwards."""
    middle = poses[MIDDLE]
    return CameraMotion.between(poses[0], middle), CameraMotion.between(poses[-1], middle)


def asked_types(poses: Array) -> list[str]:
    """Types whose answer is clear in both twins, and opposite."""
    both = motions(poses)
    sizes = {kind: [getattr(motion, kind) for motion in both] for kind in LEAST}
    return [
        kind
        for kind, (first, second) in sizes.items()
        if first * second < 0 and min(abs(first), abs(second)) >= LEAST[kind]
    ]


def camera_pair(rng: Rng, seed: int, room: Room) -> TwinPair | None:
    """Twins of a room at a random moment at which most types can be asked; None if there is none."""
    path = camera_path(room, math.ceil(SECONDS * FPS))
    clips = [path[start : start + FRAMES] for start in range(len(path) - FRAMES + 1)]
    types = [asked_types(poses) for poses in clips]
    most = max(map(len, types))
    if most == 0:
        return None
    number = rng.pick([number for number, kinds in enumerate(types) if len(kinds) == most])
    poses = clips[number]
    if not is_furnished(room, poses):
        return None
    questions = tuple(_question(rng, kind, poses) for kind in types[number])
    return TwinPair(seed, "camera", (room, room), (poses, poses[::-1]), questions)


def is_furnished(room: Room, poses: Array) -> bool:
    """True if things cover enough of the frame in the middle."""
    clip = render(room, width=_PROBE, height=_PROBE, frames=len(poses), poses=poses, indices=[MIDDLE])
    return bool((clip.ids > 0).mean() >= FURNISHED)


def _question(rng: Rng, kind: str, poses: Array) -> TwinQuestion:
    text, words = TEXTS[kind]
    # A positive motion is the first word.
    answers = [words[0 if getattr(motion, kind) > 0 else 1] for motion in motions(poses)]
    return TwinQuestion.drawn(rng, kind, text, answers)
