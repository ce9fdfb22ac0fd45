"""A room as arrays: one row a primitive, for casting and for gathering by pixel.

Rows 0..5 are the shell (-x, +x, -y, +y wall, floor, ceiling). The rest are the things' primitives, thing by
thing. The shell's rows hold the room's own box, which is seen from inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vega3d.geometry import OrientedBox, corners
from vega3d.rooms.scene import Primitive, Room

F32 = NDArray[np.float32]
SHAPES = ("box", "cylinder", "sphere")
SHELL = 6


@dataclass(frozen=True, eq=False)
class Table:
    """All primitives of a room over P rows (shell first).

    Attributes:
        primitives: of the things, so row i is ``primitives[i - 6]``.
        groups: rows (first, last + 1) of each thing: one yaw each.
        room_half, room_centre: (3,) of the room's box.
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

    primitives: tuple[Primitive, ...]
    groups: tuple[tuple[int, int], ...]
    room_half: F32
    room_centre: F32
    instance: NDArray[np.int32]
    shape: NDArray[np.int32]
    centre: F32
    half: F32
    cos: F32
    sin: F32
    corners: NDArray[np.floating]
    colour: F32
    texture: NDArray[np.int32]
    period: F32
    contrast: F32
    glow: F32
    phase: F32


def tabulate(room: Room) -> Table:
    """The room's primitives as one table, shell first."""
    primitives = tuple(part for thing in room.instances for part in thing.primitives)
    surfaces = [room.walls] * 4 + [room.floor, room.ceiling] + [part.surface for part in primitives]
    shell = OrientedBox((0.0, 0.0, room.size[2] / 2), room.size, 0.0)
    boxes = [shell] * SHELL + [part.box for part in primitives]
    instance = [0] * SHELL + [thing.id for thing in room.instances for _ in thing.primitives]
    spans = [list(rows) for _, rows in groupby(range(SHELL, len(instance)), lambda row: instance[row])]
    outside = np.full((SHELL, 8, 3), np.nan)
    half = _floats([box.size for box in boxes]) / np.float32(2)
    return Table(
        primitives,
        groups=tuple((rows[0], rows[-1] + 1) for rows in spans),
        room_half=half[0],
        room_centre=_floats(shell.centre),
        instance=np.array(instance, dtype=np.int32),
        shape=np.array([0] * SHELL + [SHAPES.index(part.shape) for part in primitives], dtype=np.int32),
        centre=_floats([box.centre for box in boxes]),
        half=half,
        cos=_floats([math.cos(box.yaw) for box in boxes]),
        sin=_floats([math.sin(box.yaw) for box in boxes]),
        corners=np.concatenate([outside, *(corners(part.box)[None] for part in primitives)]),
        colour=_floats([surface.colour for surface in surfaces]),
        texture=np.array([s.texture if s.contrast else 0 for s in surfaces], dtype=np.int32),
        period=_floats([surface.period for surface in surfaces]),
        contrast=_floats([surface.contrast for surface in surfaces]),
        glow=_floats([surface.glow for surface in surfaces]),
        phase=_floats([surface.phase[:2] for surface in surfaces]),
    )


def _floats(values: ArrayLike) -> F32:
    return np.asarray(values, dtype=np.float32)
