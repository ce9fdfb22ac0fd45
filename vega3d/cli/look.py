"""``vega3d look VIDEO ["question"] -o out/``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vega3d.cli._model import add_model_options, load_model, notes, require_video


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "look",
        help="pictures of generative features, gate and contribution",
        description="Draw frames beside the principal components of their generative features, and gate and "
        "contribution of the fusion over the frames. Prints the paths of what it wrote.",
        epilog="example: vega3d look room.mp4 -o out/look",
    )
    parser.add_argument("video", help="path of a video")
    parser.add_argument("question", nargs="?", default=None, help="also answer this")
    parser.add_argument("-o", "--out", default="out/look", metavar="DIR", help="folder (default: out/look)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, encode, draw, print paths."""
    from vega3d.analysis.look import look_at, write_look

    require_video(arguments.video)
    pipeline = load_model(arguments)
    if not arguments.quiet:
        sys.stderr.write("".join(notes(pipeline, arguments.video)))
    if arguments.question:
        seen = pipeline.ask(arguments.video, arguments.question, nframes=arguments.frames)
        print(seen.text)
    else:
        seen = pipeline.look(arguments.video, nframes=arguments.frames)
    for path in write_look(look_at(seen.encoding, seen.frames, seen.plan), arguments.out):
        print(path)
    return 0
