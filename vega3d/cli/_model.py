"""What ``ask`` and ``look`` share: the options that name a model, and what is said about it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vega3d.assistant import Assistant

ONLY_ROOMS = (
    "note: the shipped pico models only know vega3d's rooms, and this video is not one of them:\n"
    "      do not trust the answer. For real videos pass real models, for example\n"
    "        --model Qwen/Qwen2.5-VL-3B-Instruct --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers\n"
)
PICO_WORLD = 2
OTHER_WORLD = (
    "note: the shipped pico host was trained on world 2 of vega3d's rooms, and this is another one:\n"
    "      do not trust the answer. `vega3d rooms make` makes rooms that it knows.\n"
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


def load_model(arguments: argparse.Namespace) -> Assistant:
    """Load what the options name, with progress on standard error."""
    from transformers.utils import logging as transformers_logging

    from vega3d.assistant import Assistant, attention_of

    say = _silent if arguments.quiet else _say
    if arguments.quiet:
        transformers_logging.disable_progress_bar()
    assistant = Assistant.load(
        arguments.model, arguments.backbone, store=arguments.store, device=arguments.device, say=say
    )
    attention = attention_of(assistant.model)
    say(
        f"device {assistant.model.device}, attention {attention['host']} in the host, "
        f"{attention['backbone']} in the backbone"
    )
    return assistant


def notes(assistant: Assistant, video: str) -> list[str]:
    """What a user has to know to read the answer rightly."""
    from vega3d.rooms import rooms_source

    found = []
    seed_and_version = rooms_source(video)
    if assistant.name == "pico" and seed_and_version is None:
        found.append(ONLY_ROOMS)
    elif assistant.name == "pico" and seed_and_version and seed_and_version[1] != PICO_WORLD:
        found.append(OTHER_WORLD)
    if not assistant.trained:
        found.append(UNTRAINED)
    return found


def require_video(path: str) -> None:
    """Fail before anything is loaded if the video is not there or cannot be read."""
    from vega3d.decoding import probe

    probe(path)


def described(assistant: Assistant, video: str) -> dict[str, Any]:
    """What ``--json`` says about the model and the video."""
    from vega3d.assistant import attention_of

    return {
        "video": str(Path(video)),
        "model": assistant.name,
        "host": assistant.model.vega3d_config.host.path,
        "backbone": assistant.model.vega3d_config.backbone.path,
        "trained_fusion": assistant.trained,
        "device": str(assistant.model.device),
        "attention": attention_of(assistant.model),
    }


def _say(text: str) -> None:
    print(f"[vega3d] {text}", file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    del text


_MODEL_HELP = "pico (default), a vega3d checkpoint, or a Qwen-VL: folder or hub id"
_BACKBONE_HELP = "pico, none, or a Wan2.1: folder or hub id (default: what the checkpoint names)"
_STORE_HELP = "stored features, as `vega3d cache build` makes them"
