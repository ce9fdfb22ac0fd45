"""How fast are rooms? Frames a second of each engine on one core, and scenes a minute of `rooms make`.

    python benchmarks/rooms.py
    python benchmarks/rooms.py --rooms 8 --size 256

Casting is what an engine does; drawing adds textures, light, normals and ids, which all engines share. The
ratio is to numpy. Engines whose packages or libraries are missing are named and left out.
"""

from __future__ import annotations

import argparse
import time
from typing import get_args

import numpy as np

from vega3d.errors import DependencyError
from vega3d.geometry import intrinsics
from vega3d.rooms import camera_path, make_questions, make_room, render
from vega3d.rooms.engines import Engine, caster
from vega3d.rooms.raycast import camera_rays
from vega3d.rooms.renderer import FOV_X, film
from vega3d.rooms.table import tabulate


def casting(engine: Engine, seeds: range, frames: int, size: int) -> float:
    """Frames a second of finding the first hits alone."""
    K, spent = intrinsics(size, size, FOV_X), 0.0
    for seed in seeds:
        room = make_room(seed).at(0.0)
        find = caster(tabulate(room), engine)
        poses = camera_path(room, frames)
        rays = [camera_rays(K, pose, size, size) for pose in poses]
        find(rays[0], K, poses[0])
        start = time.perf_counter()
        for ray, pose in zip(rays, poses, strict=True):
            find(ray, K, pose)
        spent += time.perf_counter() - start
    return frames * len(seeds) / spent


def drawing(engine: Engine, seeds: range, frames: int, size: int) -> float:
    """Frames a second of whole pictures, with all that is done once a room."""
    K, spent = intrinsics(size, size, FOV_X), 0.0
    for seed in seeds:
        room = make_room(seed).at(0.0)
        poses = camera_path(room, frames)
        start = time.perf_counter()
        film(room, K, poses, np.linspace(0, 1, frames), size, size, engine)
        spent += time.perf_counter() - start
    return frames * len(seeds) / spent


def scenes_a_minute(seeds: range, size: int) -> float:
    """Whole scenes on one core: room, 48 frames, questions (without coding the video)."""
    start = time.perf_counter()
    for seed in seeds:
        room = make_room(seed)
        make_questions(room, render(room, width=size, height=size))
    return 60 * len(seeds) / (time.perf_counter() - start)


def main() -> None:
    """Print one line an engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=8, help="rooms (default: 8)")
    parser.add_argument("--frames", type=int, default=24, help="frames a room (default: 24)")
    parser.add_argument("--size", type=int, default=256, help="pixels a side (default: 256)")
    arguments = parser.parse_args()
    seeds = range(arguments.rooms)
    rooms = [make_room(seed) for seed in seeds]
    things = np.mean([len(room.instances) for room in rooms])
    parts = np.mean([sum(len(t.primitives) for t in room.instances) for room in rooms])
    print(f"{arguments.rooms} rooms, {things:.0f} things and {parts:.0f} primitives each on average")
    print("| engine | casting, frames/s | drawing, frames/s | drawing, ratio |\n|---|---|---|---|")
    base = 0.0
    for engine in get_args(Engine):
        try:
            cast = casting(engine, seeds, arguments.frames, arguments.size)
            drawn = drawing(engine, seeds, arguments.frames, arguments.size)
        except DependencyError as error:
            print(f"| {engine} | left out: {error.what} | | |")
            continue
        base = base or drawn
        print(f"| {engine} | {cast:.0f} | {drawn:.0f} | {drawn / base:.2f} |")
    print(f"{scenes_a_minute(seeds, arguments.size):.1f} scenes a minute on one core, without coding videos")


if __name__ == "__main__":
    main()
