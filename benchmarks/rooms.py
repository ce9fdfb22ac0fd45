"""How fast are rooms? Frames a second on one core, and scenes a minute of `rooms make`.

    python benchmarks/rooms.py
    python benchmarks/rooms.py --rooms 8 --size 256

Casting finds the first hit of every ray; drawing adds textures, light, normals and ids.
"""

from __future__ import annotations

import argparse

import numpy as np

from timing import seconds
from vega3d.geometry import intrinsics
from vega3d.rooms import Room, camera_path, make_questions, make_room, render
from vega3d.rooms.raycast import camera_rays, cast, tabulate
from vega3d.rooms.renderer import FOV_X


def casting(room: Room, frames: int, size: int) -> float:
    """Seconds of finding the first hits alone."""
    K, table, poses = intrinsics(size, size, FOV_X), tabulate(room), camera_path(room, frames)
    rays = [camera_rays(K, pose, size, size) for pose in poses]
    return seconds(lambda: [cast(table, ray, K, pose) for ray, pose in zip(rays, poses, strict=True)])


def drawing(room: Room, frames: int, size: int) -> float:
    """Seconds of whole pictures, with all that is done once a room."""
    return seconds(lambda: render(room, width=size, height=size, frames=frames))


def scene(seed: int, size: int) -> None:
    """Make a whole scene: room, 48 frames, questions (without coding the video)."""
    room = make_room(seed)
    make_questions(room, render(room, width=size, height=size))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=8, help="rooms (default: 8)")
    parser.add_argument("--frames", type=int, default=24, help="frames a room (default: 24)")
    parser.add_argument("--size", type=int, default=256, help="pixels a side (default: 256)")
    arguments = parser.parse_args()
    count, frames, size = arguments.rooms, arguments.frames, arguments.size
    rooms = [make_room(seed).at(0.0) for seed in range(count)]
    things = np.mean([len(room.instances) for room in rooms])
    parts = np.mean([sum(len(thing.primitives) for thing in room.instances) for room in rooms])
    print(f"{count} rooms, {things:.0f} things and {parts:.0f} primitives each on average")
    cast_rate, drawn_rate = (
        frames * count / sum(run(room, frames, size) for room in rooms) for run in (casting, drawing)
    )
    print("| casting, frames/s | drawing, frames/s |\n|---|---|")
    print(f"| {cast_rate:.0f} | {drawn_rate:.0f} |")
    minutes = sum(seconds(lambda seed=seed: scene(seed, size)) for seed in range(count)) / 60
    print(f"{count / minutes:.1f} scenes a minute on one core, without coding videos")


if __name__ == "__main__":
    main()
