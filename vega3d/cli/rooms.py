"""``vega3d rooms make``."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any


def add_parser(commands: Any) -> None:
    """Register the command and its sub-commands."""
    parser = commands.add_parser("rooms", help="a procedural world with exact answers")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser(
        "make",
        help="render rooms to videos, with questions and answers",
        description="Render rooms to mp4 with questions in VSI-Bench's record format (test.jsonl). Scenes "
        "that are already complete are kept, so an interrupted run can be repeated.",
        epilog="example: vega3d rooms make --scenes 3 --seed 0 --out out/",
    )
    make.add_argument("--out", default="out", metavar="DIR", help="folder (default: out)")
    make.add_argument("--scenes", type=int, default=1, metavar="N", help="number of rooms (default: 1)")
    make.add_argument("--seed", type=int, default=0, metavar="S", help="which rooms (default: 0)")
    make.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    make.add_argument("--size", type=int, default=256, metavar="PX", help="width and height (default: 256)")
    make.add_argument("--geometry", action="store_true", help="also write depth and instance ids (npz)")
    make.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render, with progress and time left on standard error; prints the path of the questions."""
    from vega3d.rooms import export_rooms

    start = time.monotonic()
    made = 0

    def progress(done: int, total: int, skipped: bool) -> None:
        nonlocal made
        made += not skipped
        left = (time.monotonic() - start) / max(made, 1) * (total - done)
        print(f"[vega3d] room {done}/{total}, about {left:.0f} s left", file=sys.stderr, flush=True)

    path = export_rooms(
        arguments.out,
        arguments.scenes,
        arguments.seed,
        split=arguments.split,
        width=arguments.size,
        height=arguments.size,
        geometry=arguments.geometry,
        progress=progress,
    )
    for video in sorted((path.parent / "rooms").glob("*.mp4")):
        print(video)
    print(path)
    return 0
