"""A room as arrays: one row a primitive, for casting and for gathering by pixel.

Rows 0..5 are the shell (-x, +x, -y, +y wall, floor, ceiling), the rest are the things' primitives, thing by
thing. The shell's rows hold the room's own box; its inside is what one sees. This module computes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import corners
from vega3d.rooms.scene import Primitive, Room, Surface

F32 = NDArray[np.float32]
SHAPES = ("box", "cylinder", "sphere")
SHELL = 6


@dataclass(frozen=True)
class Table:
    """All primitives of a room over P rows (shell first).

    Attributes:
        primitives: of the things, so row i is ``primitives[i - 6]``.
        surfaces: of all rows.
        instance: (P,) instance id, 0 for the shell.
        room_half, room_centre: (3,) of the room's box.
    """

    primitives: tuple[Primitive, ...]
    surfaces: tuple[Surface, ...]
    instance: NDArray[np.int32]
    room_half: F32
    room_centre: F32

    @cached_property
    def centre(self) -> F32:
        """(P, 3) metres."""
        rows = [tuple(map(float, self.room_centre))] * SHELL + [p.box.centre for p in self.primitives]
        return np.array(rows, dtype=np.float32)

    @cached_property
    def half(self) -> F32:
        """(P, 3) half sizes in metres."""
        mine = np.array([p.box.size for p in self.primitives], dtype=np.float64).reshape(-1, 3) / 2
        return np.concatenate([np.repeat(self.room_half[None], SHELL, axis=0), mine]).astype(np.float32)

    @cached_property
    def cos(self) -> F32:
        """(P,) cosine of yaw."""
        yaws = [0.0] * SHELL + [p.box.yaw for p in self.primitives]
        return np.array([math.cos(yaw) for yaw in yaws], dtype=np.float32)

    @cached_property
    def sin(self) -> F32:
        """(P,) sine of yaw."""
        yaws = [0.0] * SHELL + [p.box.yaw for p in self.primitives]
        return np.array([math.sin(yaw) for yaw in yaws], dtype=np.float32)

    @cached_property
    def shape(self) -> NDArray[np.int32]:
        """(P,) index into SHAPES."""
        return np.array([0] * SHELL + [SHAPES.index(p.shape) for p in self.primitives], dtype=np.int32)

    @cached_property
    def corners(self) -> NDArray[np.floating]:
        """(P, 8, 3) corners of the boxes; the shell's are behind every camera."""
        empty = np.full((SHELL, 8, 3), np.nan)
        return np.concatenate([empty, *(corners(p.box)[None] for p in self.primitives)])

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Rows (first, last + 1) of each thing: one yaw each."""
        spans = [
            list(rows) for _, rows in groupby(range(SHELL, len(self.instance)), lambda i: self.instance[i])
        ]
        return tuple((rows[0], rows[-1] + 1) for rows in spans)

    @cached_property
    def colour(self) -> F32:
        """(P, 3) base RGB in 0..1."""
        return np.array([s.colour for s in self.surfaces], dtype=np.float32)

    @cached_property
    def texture(self) -> NDArray[np.int32]:
        """(P,) index into scene.TEXTURES; surfaces without contrast are plain."""
        return np.array([s.texture if s.contrast else 0 for s in self.surfaces], dtype=np.int32)

    @cached_property
    def period(self) -> F32:
        """(P,) metres of the texture."""
        return np.array([s.period for s in self.surfaces], dtype=np.float32)

    @cached_property
    def contrast(self) -> F32:
        """(P,) contrast of the texture."""
        return np.array([s.contrast for s in self.surfaces], dtype=np.float32)

    @cached_property
    def phase(self) -> F32:
        """(P, 2) phase of the texture in metres."""
        return np.array([s.phase[:2] for s in self.surfaces], dtype=np.float32)

    @cached_property
    def glow(self) -> F32:
        """(P,) light of its own."""
        return np.array([s.glow for s in self.surfaces], dtype=np.float32)


def tabulate(room: Room) -> Table:
    """The room's primitives as one table, shell first."""
    parts = [(part, thing.id) for thing in room.instances for part in thing.primitives]
    shell = [room.walls] * 4 + [room.floor, room.ceiling]
    return Table(
        primitives=tuple(part for part, _ in parts),
        surfaces=(*shell, *(part.surface for part, _ in parts)),
        instance=np.array([0] * SHELL + [number for _, number in parts], dtype=np.int32),
        room_half=np.array([side / 2 for side in room.size], dtype=np.float32),
        room_centre=np.array([0.0, 0.0, room.size[2] / 2], dtype=np.float32),
    )
