"""``vega3d merge CHECKPOINT OUT``: one host with its LoRA added in."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "merge",
        help="add LoRA to the weights of its host",
        description="Write OUT/host, an ordinary host with everything that was trained in it, and OUT, the "
        "vega3d checkpoint that belongs to it.",
        epilog="example: vega3d merge out/rooms_pico_lora/final out/merged",
    )
    parser.add_argument("checkpoint", help="a checkpoint of a run, or its folder final")
    parser.add_argument("out", help="folder to write")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Merge, print the folder."""
    from vega3d.training.export import merge

    print(merge(arguments.checkpoint, arguments.out))
    return 0
