"""``vega3d ask VIDEO "question"`` and ``vega3d look VIDEO ["question"] -o out/``: one model and one video."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vega3d._utils.progress import note
from vega3d.cli._command import Commands

if TYPE_CHECKING:
    from vega3d.pipeline import Pipeline

ONLY_ROOMS = (
    "note: the shipped pico models are trained on vega3d's rooms only, and this video is not one of them:\n"
    "      do not trust the answer. For real videos pass real models, for example\n"
    "        --model Qwen/Qwen2.5-VL-3B-Instruct --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers\n"
)
PICO_WORLD = 2
OTHER_WORLD = (
    "note: the shipped pico host was trained on world 2 of vega3d's rooms, and this is another one:\n"
    "      do not trust the answer. `vega3d rooms make` makes rooms of its world.\n"
)
UNTRAINED = (
    "note: projector and fusion are untrained, so the answer is the host's own (no checkpoint was given).\n"
)
_MODEL = "pico (default), a vega3d checkpoint, or a Qwen-VL: folder or hub id"
_BACKBONE = "pico, none, or a Wan2.1: folder or hub id (default: what the checkpoint names)"


def add_parser(commands: Commands) -> None:
    """Register the commands."""
    ask = commands.add(
        _ask,
        help="answer a question about a video",
        description="Answer a question about a video. The answer goes to standard output, everything "
        "else to standard error.",
        epilog='example: vega3d ask room.mp4 "How many chairs are there?"',
    )
    look = commands.add(
        _look,
        help="pictures of generative features, gate and contribution",
        description="Draw frames beside the principal components of their generative features, and gate and "
        "contribution of the fusion over the frames. Prints the paths of what it wrote.",
        epilog="example: vega3d look room.mp4 -o out/look",
    )
    ask("video", help="path of a video")
    ask("question", help="in plain words")
    look("video", help="path of a video")
    look("question", nargs="?", help="also answer this")
    look("-o", "--out", default="out/look", metavar="DIR", help="folder (default: out/look)")
    for add in (ask, look):
        add("--model", default="pico", metavar="NAME", help=_MODEL)
        add("--backbone", metavar="NAME", help=_BACKBONE)
        add("--store", metavar="FOLDER", help="stored features, as `vega3d cache build` makes them")
        add("--frames", type=int, default=8, metavar="N", help="frames to look at (default: 8)")
        add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
        add("--quiet", action="store_true", help="no progress and no notes on standard error")
    ask("--max-new-tokens", type=int, default=64, metavar="N", help="default: 64")
    ask("--json", action="store_true", help="print answer, model and timing as one JSON object")


def load_model(arguments: argparse.Namespace) -> Pipeline:
    """Load what the options name, with progress on standard error."""
    from transformers.utils import logging as transformers_logging

    from vega3d.pipeline import load

    if arguments.quiet:
        transformers_logging.disable_progress_bar()
    log = partial(note, quiet=arguments.quiet)
    return load(arguments.model, arguments.backbone, store=arguments.store, device=arguments.device, log=log)


def _open(arguments: argparse.Namespace) -> tuple[Pipeline, list[str]]:
    """The model, and notes without which an answer is easily misread; they are printed, too."""
    from vega3d.media.decoding import probe

    probe(arguments.video)  # before anything is imported or loaded that takes long
    from vega3d.pipeline import attention_of
    from vega3d.rooms import rooms_source

    pipeline = load_model(arguments)
    used = attention_of(pipeline.adapter)
    attention = f"attention {used['host']} in the host, {used['backbone']} in the backbone"
    note(f"device {pipeline.adapter.device}, {attention}", quiet=arguments.quiet)
    seed_and_version = rooms_source(arguments.video)
    notes = [] if pipeline.trained else [UNTRAINED]
    if pipeline.name == "pico" and seed_and_version is None:
        notes.insert(0, ONLY_ROOMS)
    elif pipeline.name == "pico" and seed_and_version and seed_and_version[1] != PICO_WORLD:
        notes.insert(0, OTHER_WORLD)
    if not arguments.quiet:
        sys.stderr.write("".join(notes))
    return pipeline, notes


def _ask(arguments: argparse.Namespace) -> None:
    """Load, ask, print."""
    pipeline, notes = _open(arguments)
    from vega3d.pipeline import attention_of

    start = time.perf_counter()
    answer = pipeline.ask(
        arguments.video, arguments.question, nframes=arguments.frames, max_new_tokens=arguments.max_new_tokens
    )
    seconds, adapter = time.perf_counter() - start, pipeline.adapter
    record = {
        "question": arguments.question,
        "answer": answer.text,
        "video": str(Path(arguments.video)),
        "model": pipeline.name,
        "host": adapter.vega3d_config.host.path,
        "backbone": adapter.vega3d_config.backbone.path,
        "trained_fusion": pipeline.trained,
        "device": str(adapter.device),
        "attention": attention_of(adapter),
        "frames": len(answer.frames),
        "seconds": round(seconds, 3),
        "notes": notes,
    }
    print(json.dumps(record, indent=2) if arguments.json else answer.text)


def _look(arguments: argparse.Namespace) -> None:
    """Load, encode, draw, print paths."""
    from vega3d.analysis.look import look_at, write_look

    pipeline, _ = _open(arguments)
    if arguments.question:
        seen = pipeline.ask(arguments.video, arguments.question, nframes=arguments.frames)
        print(seen.text)
    else:
        seen = pipeline.look(arguments.video, nframes=arguments.frames)
    print(*write_look(look_at(seen.encoding, seen.frames, seen.plan), arguments.out), sep="\n")
