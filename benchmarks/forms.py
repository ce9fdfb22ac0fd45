"""Cost of each stored form in bytes and in error.

Bytes are those of Wan2.1 1.3B (1536 channels) for a frame of 832 x 480 under ``whole``. The error is that of
a host's tokens: the features that reach them through the store against those that reach them directly, as
||stored - direct|| / ||direct||, over frames of rendered rooms and the shipped Wan. ``native`` loses
precision alone; ``pooled`` also loses detail where it is coarser than the host's tokens.
"""

from __future__ import annotations

import argparse
from itertools import product

import torch

from vega3d import WanBackbone, WanConfig
from vega3d.grid import FeatureMap, TokenGrid, resample
from vega3d.pico import pico_path
from vega3d.rooms import make_room, render
from vega3d.store import FeatureFormat

CHANNELS, NATIVE = 1536, (30, 52)
GRIDS = ("native", "pooled")
PRECISIONS = ("float32", "bfloat16", "int8")


def maps_of(rooms: int) -> list[FeatureMap]:
    """One map a room: its first, middle and last frame."""
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(pixels=128 * 128))
    found = []
    for number in range(rooms):
        rgb = torch.from_numpy(render(make_room(seed=200_001_000 + number)).rgb)
        found += wan(rgb[[0, len(rgb) // 2, len(rgb) - 1]].permute(0, 3, 1, 2))
    return found


def error(form: FeatureFormat, feature_map: FeatureMap, tokens: tuple[int, int]) -> float:
    """Relative error of a host's tokens."""
    steps = range(len(feature_map.frames))
    place, links = TokenGrid(tuple((at,) for at in steps), *tokens), [(at,) for at in steps]
    direct = resample(feature_map, place, links)
    stored = resample(form.cast(feature_map), place, links)
    return ((stored - direct).norm() / direct.norm()).item()


def size(form: FeatureFormat) -> int:
    """Bytes of one frame at true size."""
    cells = NATIVE if form.grid == "native" else (form.cells, form.cells)
    return form.bytes_per_frame(CHANNELS, *cells)


def main() -> None:
    """Print one line a form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=8, help="rendered rooms (default: 8)")
    arguments = parser.parse_args()
    maps = maps_of(arguments.rooms)
    print(f"{'grid':8} {'precision':9} {'MB a frame':>10} {'error':>9}")
    for grid, precision in product(GRIDS, PRECISIONS):
        form = FeatureFormat(grid, precision)  # type: ignore[arg-type]
        tokens = (9, 9)  # pico's host on these frames, about
        mean = sum(error(form, one, tokens) for one in maps) / len(maps)
        print(f"{grid:8} {precision:9} {size(form) / 1e6:10.3f} {mean:9.5f}")


if __name__ == "__main__":
    main()
