"""``vega3d scenes sens``."""

from __future__ import annotations

import argparse

from vega3d._utils.progress import bar, note
from vega3d.cli._command import Commands


def add_parser(commands: Commands) -> None:
    """Register the command and its sub-commands."""
    scenes = commands.group("scenes", "action", help="prepare scans of rooms")
    sens = scenes.add(
        _sens,
        help="write the frames of a ScanNet recording as posed images",
        description="Write color, depth and pose of each frame of a .sens recording. Frames whose camera was "
        "lost are counted and left out. Frames that are complete are kept, so an interrupted export can be "
        "repeated. Prints the folder.",
        epilog="example: vega3d scenes sens scene0000_00.sens posed_images/scene0000_00 --every 10",
    )
    sens("file", help="a .sens file of version 4")
    sens("out", help="folder of the scene")
    sens("--every", type=int, default=1, metavar="N", help="write every Nth frame (default: 1)")


def _sens(arguments: argparse.Namespace) -> None:
    """Export, with progress on standard error."""
    from vega3d.scene3d.posed_images import export_sens

    with bar("frames", "frame") as progress:
        made = export_sens(arguments.file, arguments.out, every=arguments.every, progress=progress)
    note(f"{len(made.written)} frames, {made.untracked} left out because their pose is not finite")
    print(made.folder)
