"""``vega3d export CHECKPOINT OUT``: write the trained parts of a run as a loadable checkpoint."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "export",
        help="split a run's checkpoint into a vega3d checkpoint and a plain PEFT folder",
        description="Write projector and fusion as a vega3d checkpoint, LoRA as a plain PEFT folder for the "
        "bare host (OUT/lora), a fully trained host as an ordinary one (OUT/host).",
        epilog="example: vega3d export out/rooms_pico_lora/final out/mine",
    )
    parser.add_argument("checkpoint", help="a checkpoint of a run, or its folder final")
    parser.add_argument("out", help="folder to write")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, print the folder."""
    from vega3d.training.export import export

    print(export(arguments.checkpoint, arguments.out))
    return 0
