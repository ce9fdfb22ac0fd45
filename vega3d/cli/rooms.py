"""``vega3d rooms make | export | show``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from vega3d._utils.progress import bar


def add_parser(commands: Any) -> None:
    """Register the command and its sub-commands."""
    parser = commands.add_parser("rooms", help="a procedural world with exact answers")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_make(actions)
    _add_export(actions)
    show = actions.add_parser(
        "show",
        help="draw a room: contact sheet, turntable, plan with boxes",
        description="Draw one room as pictures: a contact sheet of its clip with depth and ids, a turntable "
        "seen from above with the near walls cut away, and a plan with the boxes and the camera's path.",
        epilog="example: vega3d rooms show --seed 7 --out out/room7",
    )
    _add_room(show)
    show.set_defaults(run=run_show)


def _add_make(actions: Any) -> None:
    make = actions.add_parser(
        "make",
        help="render rooms to videos, with questions and answers",
        description="Render rooms to mp4 with questions in VSI-Bench's record format (test.jsonl). Scenes "
        "that are already complete are kept, so an interrupted run can be repeated.",
        epilog="example: vega3d rooms make --scenes 3 --seed 0 --out out/",
    )
    _add_which(make)
    make.add_argument("--size", type=int, default=256, metavar="PX", help="width and height (default: 256)")
    make.add_argument("--frames", type=int, default=48, metavar="T", help="frames a video (default: 48)")
    make.add_argument("--per-type", type=int, default=2, metavar="Q", help="questions a type (default: 2)")
    geometry = "also write depth, ids, classes, normals, K and poses (npz)"
    make.add_argument("--geometry", action="store_true", help=geometry)
    held_out = "only styles of rooms and types of questions that the shipped host was never trained on"
    make.add_argument("--held-out", action="store_true", help=held_out)
    make.set_defaults(run=run_make)


def _add_export(actions: Any) -> None:
    export = actions.add_parser(
        "export",
        help="write rooms in ScanNet's layout, pairs that share their sampled frames, or pictures",
        description="Write rooms in another layout. scannet: posed frames, depth, boxes and proposals, and "
        "records of ScanRefer, Multi3DRefer, ScanQA, SQA3D and Scan2Cap. ames: pairs of videos whose "
        "sampled frames look the same (--scenes counts pairs). motion: pairs of clips that share one frame, "
        "with another motion before it. pictures: questions about pictures in the forms of CV-Bench "
        "and BLINK. Complete scenes are kept.",
        epilog="example: vega3d rooms export --layout scannet --split val --scenes 20 --out data/",
    )
    layouts = ("scannet", "ames", "motion", "pictures")
    export.add_argument("--layout", default="scannet", choices=layouts, help="default: scannet")
    _add_which(export)
    width, height = "default: 320 (ScanNet: 640); motion: 128", "default: 240 (ScanNet: 480); motion: 128"
    export.add_argument("--width", type=int, metavar="PX", help=width)
    export.add_argument("--height", type=int, metavar="PX", help=height)
    export.add_argument("--frames", type=int, metavar="T", help="frames (default: 48; ames: 8 sampled)")
    export.set_defaults(run=run_export)


def _add_which(parser: Any) -> None:
    """Add the options that all exports share: rooms, folder, processes."""
    _add_room(parser)
    parser.add_argument("--scenes", type=int, default=1, metavar="N", help="number of rooms (default: 1)")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    cores = os.cpu_count() or 1
    text = f"processes (default: all cores, {cores})"
    parser.add_argument("--workers", type=int, default=cores, metavar="W", help=text)


def _add_room(parser: Any) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which rooms (default: 0)")
    parser.add_argument("--out", default="out", metavar="DIR", help="folder (default: out)")


def run_make(arguments: argparse.Namespace) -> int:
    """Render, with progress and time left on standard error; prints the videos and the questions."""
    from vega3d.rooms import export_rooms

    names = ("scenes", "frames", "per_type", "geometry", "held_out")
    size = {"width": arguments.size, "height": arguments.size}
    rest = {name: getattr(arguments, name) for name in names}
    with bar("room", "room") as progress:
        path = export_rooms(**_shared(arguments), **rest, **size, progress=progress)
    return _print(*sorted((path.parent / "rooms").glob("*.mp4")), path)


def run_export(arguments: argparse.Namespace) -> int:
    """Write scenes or pairs, with progress on standard error; prints the files of records."""
    from vega3d.rooms.ames import export_ames
    from vega3d.rooms.formats.cvbench import export_pictures
    from vega3d.rooms.formats.motion import export_motion
    from vega3d.rooms.formats.scannet import export_scannet

    shared, count, frames = _shared(arguments), arguments.scenes, arguments.frames
    default = (128, 128) if arguments.layout == "motion" else (320, 240)
    width, height = arguments.width or default[0], arguments.height or default[1]
    size: dict[str, Any] = {"width": width, "height": height}
    with bar("room", "room") as progress:
        shared["progress"] = progress
        if arguments.layout == "pictures":
            shared.pop("workers")
            paths = export_pictures(**shared, scenes=count, size=width)
        elif arguments.layout == "motion":
            paths = [export_motion(**shared, pairs=count, **size)]
        elif arguments.layout == "ames":
            paths = [export_ames(**shared, pairs=count, **size, sampled=frames or 8)]
        else:
            paths = export_scannet(**shared, scenes=count, **size, frames=frames or 48)
    return _print(*paths)


def run_show(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths."""
    from vega3d.rooms import make_room
    from vega3d.rooms.show import write_pictures

    return _print(*write_pictures(make_room(arguments.seed), arguments.out))


def _shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments that all exports share."""
    names = ("out", "seed", "split", "workers")
    return {name: getattr(arguments, name) for name in names}


def _print(*paths: object) -> int:
    print(*paths, sep="\n")
    return 0
