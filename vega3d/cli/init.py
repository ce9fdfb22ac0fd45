"""``vega3d init MEDIA ROWS``: write a config for your own videos and questions."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from vega3d._utils.progress import note
from vega3d.cli._command import Commands

EPILOG = """examples:
  vega3d init my/videos qa.json
  vega3d init my/videos qa.json --model Qwen/Qwen2.5-VL-3B-Instruct --out qwen.yaml

A row of the file: {"video": "kitchen.mp4", "question": "How many chairs are there?", "answer": "4"}
Rows with "conversations" (LLaVA) or "messages" (transformers) are read too.
"""


def add_parser(commands: Commands) -> None:
    """Register the command."""
    add = commands.add(
        _init,
        help="write a training config for your own videos and questions",
        description="Read the rows, check that their files are there, and write a YAML file that "
        "`vega3d validate` and `vega3d train` take. Prints its name.",
        epilog=EPILOG,
    )
    add("media", metavar="MEDIA", help="folder that the paths in the rows start from")
    add("rows", metavar="ROWS", help="JSON or JSON lines: questions with their answers")
    add("--out", default="run.yaml", metavar="FILE", help="file to write (default: run.yaml)")
    add("--model", default="pico", metavar="NAME", help="pico (default), or folder or hub id of a Qwen-VL")
    add("--backbone", metavar="NAME", help="folder or hub id of a Wan2.1 (default: pico's, or Wan2.1 1.3B)")


def _init(arguments: argparse.Namespace) -> None:
    """Read, write, print the next command."""
    from vega3d.training.first_config import first_config, write_config

    media, rows, out = arguments.media, arguments.rows, Path(arguments.out)
    first = first_config(media, rows, f"out/{out.stem}", arguments.model, arguments.backbone)
    write_config(first, out, f"vega3d init {shlex.join([media, rows])}")
    note(f"{first.rows:,} rows, {first.videos:,} videos, {first.images:,} pictures")
    if arguments.model == "pico":
        note("pico is a tiny model for a trial; for a real one: --model Qwen/Qwen2.5-VL-3B-Instruct")
    note(f"next: vega3d validate {shlex.quote(str(out))}")
    print(out)
