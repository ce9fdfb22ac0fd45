"""``vega3d push CHECKPOINT REPO``: upload the trained parts of a run to the hub."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "push",
        help="upload a checkpoint to the hub",
        description="Upload projector, fusion and LoRA as one commit; a host that was trained itself goes to "
        "the repository --host.",
        epilog="example: vega3d push out/rooms_pico_lora/final me/rooms-lora --private",
    )
    parser.add_argument("checkpoint", help="a checkpoint of a run, its folder final, an export or a merge")
    parser.add_argument("repo", help="id of the repository; made if it is not there")
    parser.add_argument("--host", help="id under which others find the host; needed if it is a folder here")
    parser.add_argument("--private", action="store_true", help="repositories that are made are private")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Push, print the commits' addresses."""
    from vega3d.training.export import push

    private = True if arguments.private else None
    for commit in push(arguments.checkpoint, arguments.repo, host=arguments.host, private=private):
        print(commit)
    return 0
