"""A room as arrays: one row a primitive, for casting and for gathering by pixel.

Rows 0..5 are the shell (-x, +x, -y, +y wall, floor, ceiling). The rest are the things' primitives, thing by
thing. The shell's rows hold the room's own box, which is seen from inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vega3d.geometry import OrientedBox, corners
from vega3d.rooms.scene import Room

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
SHAPES = ("box", "cylinder", "sphere")
SHELL = 6


@dataclass(frozen=True, eq=False)
class Table:
    """All primitives of a room over P rows (shell first).

    Attributes:
        groups: rows (first, last + 1) of each thing: one yaw each.
        instance: (P,) instance id, 0 for the shell.
        shape: (P,) index into SHAPES.
        centre, half: (P, 3) centres and half sizes in metres.
        cos, sin: (P,) of the yaw.
        corners: (P, 8, 3) corners of the boxes; NaN for the shell, which is behind every camera.
        colour: (P, 3) base RGB in 0..1.
        texture: (P,) index into scene.TEXTURES; surfaces without contrast are plain.
        period, contrast, glow: (P,) metres of the texture, its contrast, light of its own.
        phase: (P, 2) phase of the texture in metres.
    """

    groups: tuple[tuple[int, int], ...]
    instance: I32
    shape: I32
    centre: F32
    half: F32
    cos: F32
    sin: F32
    corners: NDArray[np.floating]
    colour: F32
    texture: I32
    period: F32
    contrast: F32
    glow: F32
    phase: F32


def tabulate(room: Room) -> Table:
    """The room's primitives as one table, shell first."""
    primitives = [part for thing in room.instances for part in thing.primitives]
    surfaces = [room.walls] * 4 + [room.floor, room.ceiling] + [part.surface for part in primitives]
    boxes = [OrientedBox((0.0, 0.0, room.size[2] / 2), room.size)] * SHELL + [p.box for p in primitives]
    instance = [0] * SHELL + [thing.id for thing in room.instances for _ in thing.primitives]
    ends = accumulate((len(thing.primitives) for thing in room.instances), initial=SHELL)
    outside = np.full((SHELL, 8, 3), np.nan)
    return Table(
        groups=tuple(pairwise(ends)),
        instance=np.array(instance, dtype=np.int32),
        shape=np.array([0] * SHELL + [SHAPES.index(part.shape) for part in primitives], dtype=np.int32),
        centre=_floats([box.centre for box in boxes]),
        half=_floats([box.size for box in boxes]) / np.float32(2),
        cos=_floats([math.cos(box.yaw) for box in boxes]),
        sin=_floats([math.sin(box.yaw) for box in boxes]),
        corners=np.stack([*outside, *(corners(part.box) for part in primitives)]),
        colour=_floats([surface.colour for surface in surfaces]),
        texture=np.array([s.texture if s.contrast else 0 for s in surfaces], dtype=np.int32),
        period=_floats([surface.period for surface in surfaces]),
        contrast=_floats([surface.contrast for surface in surfaces]),
        glow=_floats([surface.glow for surface in surfaces]),
        phase=_floats([surface.phase[:2] for surface in surfaces]),
    )


def _floats(values: ArrayLike) -> F32:
    return np.asarray(values, dtype=np.float32)
