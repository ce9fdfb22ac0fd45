"""Form of stored features: their grid and their precision.

``native`` keeps the generator's own grid, ``pooled`` k x k cells; both serve every host. Numbers are kept as
bfloat16, or as int8 with one scale a token. A live feature passes through the same cast, so a model gets the
same numbers whether they come from the store or from the generator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from vega3d.errors import ConfigError, unknown_choice
from vega3d.grid import FeatureMap, TokenGrid, resample

Grid = Literal["native", "pooled"]
GONE = ("patch", "merged")  # grids that only version 0.1 reads
Precision = Literal["float32", "bfloat16", "int8"]
Packed = dict[str, Tensor]
"""Tensors of one run: ``values`` (T, h, w, C), and under int8 ``scale`` (T, h, w)."""

REBUILD = "rebuild the store: vega3d cache build NEW_STORE ANNOTATIONS --backbone NAME --grid native"
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class FeatureFormat:
    """Form of stored features.

    Attributes:
        grid: ``native`` (the generator's own grid) or ``pooled`` (``cells`` x ``cells``).
        precision: ``bfloat16``, ``int8`` (one float32 scale a token), or ``float32`` for comparison.
        cells: number of cells on a side under ``pooled``; 1 or more.
    """

    grid: Grid = "native"
    precision: Precision = "bfloat16"
    cells: int = 14

    def __post_init__(self) -> None:
        if self.grid in GONE:
            what = f"Invalid grid {self.grid!r}: version 0.1 of vega3d is the last one that reads it."
            raise ConfigError(what, got=self.grid, expected=", ".join(get_args(Grid)), fix=REBUILD)
        for kind, value, choices in (("grid", self.grid, Grid), ("precision", self.precision, Precision)):
            if value not in get_args(choices):
                raise unknown_choice(kind, value, get_args(choices))
        if self.cells < 1:
            raise ConfigError("Invalid cells.", got=self.cells, expected="1 or more", fix="use 14")

    def reduce(self, feature_map: FeatureMap) -> FeatureMap:
        """The map on the stored grid.

        Args:
            feature_map: (C, T, h, w).
        """
        if self.grid == "native":
            return feature_map
        side = self.cells
        steps = range(feature_map.features.shape[1])
        # each step on its own, as for a host with one frame a step
        alone = replace(feature_map, frames=tuple((step,) for step in steps))
        grid = TokenGrid(tuple((step,) for step in steps), side, side)
        pooled = resample(alone, grid, [(step,) for step in steps], 1)  # (T * side * side, 1, C)
        features = pooled.reshape(len(steps), side, side, -1).permute(3, 0, 1, 2)  # (C, T, side, side)
        return FeatureMap(features.contiguous(), feature_map.frames)

    def pack(self, features: Tensor) -> Packed:
        """(C, T, h, w) as it is written."""
        values = features.detach().float().cpu().permute(1, 2, 3, 0).contiguous()  # (T, h, w, C)
        if self.precision != "int8":
            return {"values": values.to(getattr(torch, self.precision))}
        scale = values.abs().amax(dim=-1) / 127.0  # (T, h, w)
        levels = values / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        return {"values": levels.round().clamp(-127, 127).to(torch.int8), "scale": scale}

    def unpack(self, packed: Packed) -> Tensor:
        """Stored tensors as (C, T, h, w): float32, or bfloat16 as it was stored."""
        values = packed["values"]
        if self.precision == "int8":
            values = values.float().mul_(packed["scale"][..., None])
        return values.permute(3, 0, 1, 2)

    def cast(self, feature_map: FeatureMap) -> FeatureMap:
        """A live map after the round trip through storage: equal to the map that a reader would get."""
        reduced = self.reduce(feature_map)
        features = self.unpack(self.pack(reduced.features)).to(feature_map.features.device)
        return replace(reduced, features=features)

    def bytes_per_frame(self, channels: int, rows: int, columns: int) -> int:
        """Bytes of one step of a map on a grid of rows x columns."""
        return rows * columns * (channels * BYTES[self.precision] + 4 * (self.precision == "int8"))
