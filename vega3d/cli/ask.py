"""``vega3d ask VIDEO "question"``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from vega3d.cli._model import add_model_options, described, load_model, notes, require_video


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "ask",
        help="answer a question about a video",
        description="Answer a question about a video. The answer goes to standard output, everything "
        "else to standard error.",
        epilog='example: vega3d ask room.mp4 "How many chairs are there?"',
    )
    parser.add_argument("video", help="path of a video")
    parser.add_argument("question", help="in plain words")
    add_model_options(parser)
    parser.add_argument("--max-new-tokens", type=int, default=64, metavar="N", help="default: 64")
    parser.add_argument(
        "--json", action="store_true", help="print answer, model and timing as one JSON object"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, ask, print."""
    require_video(arguments.video)
    pipeline = load_model(arguments)
    said = notes(pipeline, arguments.video)
    if not arguments.quiet:
        sys.stderr.write("".join(said))
    start = time.perf_counter()
    answer = pipeline.ask(
        arguments.video, arguments.question, nframes=arguments.frames, max_new_tokens=arguments.max_new_tokens
    )
    seconds = time.perf_counter() - start
    if arguments.json:
        record = {
            "question": arguments.question,
            "answer": answer.text,
            **described(pipeline, arguments.video),
        }
        record |= {"frames": len(answer.frames), "seconds": round(seconds, 3), "notes": said}
        print(json.dumps(record, indent=2))
    else:
        print(answer.text)
    return 0
