"""Options of ``ask`` and ``look`` that name a model, and notes about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--backbone``, ``--frames``, ``--device`` and ``--quiet``."""
    parser.add_argument("--model", default="pico", metavar="NAME", help=_MODEL_HELP)
    parser.add_argument("--backbone", default=None, metavar="NAME", help=_BACKBONE_HELP)
    parser.add_argument("--store", default=None, metavar="FOLDER", help=_STORE_HELP)
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames to look at (default: 8)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    parser.add_argument("--quiet", action="store_true", help="no progress and no notes on standard error")


def load_model(arguments: argparse.Namespace) -> Pipeline:
    """Load what the options name, with progress on standard error."""
    from transformers.utils import logging as transformers_logging

    from vega3d.pipeline import attention_of, load

    log = logger(quiet=arguments.quiet)
    if arguments.quiet:
        transformers_logging.disable_progress_bar()
    pipeline = load(
        arguments.model, arguments.backbone, store=arguments.store, device=arguments.device, log=log
    )
    attention = attention_of(pipeline.adapter)
    log(
        f"device {pipeline.adapter.device}, attention {attention['host']} in the host, "
        f"{attention['backbone']} in the backbone"
    )
    return pipeline


def notes(pipeline: Pipeline, video: str) -> list[str]:
    """Notes without which an answer is easily misread."""
    from vega3d.rooms import rooms_source

    lines = []
    seed_and_version = rooms_source(video)
    if pipeline.name == "pico" and seed_and_version is None:
        lines.append(ONLY_ROOMS)
    elif pipeline.name == "pico" and seed_and_version and seed_and_version[1] != PICO_WORLD:
        lines.append(OTHER_WORLD)
    if not pipeline.trained:
        lines.append(UNTRAINED)
    return lines


def require_video(path: str) -> None:
    """Fail before anything is loaded if the video is not there or cannot be read."""
    from vega3d.media.decoding import probe

    probe(path)


def described(pipeline: Pipeline, video: str) -> dict[str, Any]:
    """The model and the video for ``--json``."""
    from vega3d.pipeline import attention_of

    return {
        "video": str(Path(video)),
        "model": pipeline.name,
        "host": pipeline.adapter.vega3d_config.host.path,
        "backbone": pipeline.adapter.vega3d_config.backbone.path,
        "trained_fusion": pipeline.trained,
        "device": str(pipeline.adapter.device),
        "attention": attention_of(pipeline.adapter),
    }


def logger(*, quiet: bool) -> Callable[[str], None]:
    """Print lines on standard error, or nothing."""

    def log(text: str) -> None:
        if not quiet:
            print(f"[vega3d] {text}", file=sys.stderr, flush=True)

    return log


_MODEL_HELP = "pico (default), a vega3d checkpoint, or a Qwen-VL: folder or hub id"
_BACKBONE_HELP = "pico, none, or a Wan2.1: folder or hub id (default: what the checkpoint names)"
_STORE_HELP = "stored features, as `vega3d cache build` makes them"
