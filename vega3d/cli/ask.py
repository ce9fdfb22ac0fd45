"""``vega3d ask VIDEO "question"`` and ``vega3d look VIDEO ["question"] -o out/``: one model, loaded once."""

from __future__ import annotations

import argparse
import glob
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vega3d._utils.progress import note
from vega3d.cli._command import AddArgument, Commands
from vega3d.errors import BackboneError, HostError, InputError, MediaNotFoundError
from vega3d.pico import PICO

if TYPE_CHECKING:
    from vega3d.pipeline import Answer, Pipeline

ONLY_ROOMS = (
    "note: the host is pico's, which was trained on vega3d's rooms only, and this video is not one of them:\n"
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
_CLIP = "a video, a photo, or a folder of frames"
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
        description="Draw frames, the principal components of their generative features, and gate and "
        "contribution of the fusion: as one figure, and as an HTML page with a slider over frames. Prints "
        "the paths of what it wrote.",
        epilog="example: vega3d look room.mp4 -o out/look",
    )
    ask("video", nargs="+", help=f"{_CLIP}; several, or a pattern such as 'clips/*.mp4'")
    ask("question", help="in plain words")
    look("video", help=_CLIP)
    look("question", nargs="?", help="also answer this")
    look("-o", "--out", default="out/look", metavar="DIR", help="folder (default: out/look)")
    look("--format", default="png", choices=("png", "pdf", "svg"), help="of the figure (default: png)")
    look(
        "--width", type=float, default=6.9, choices=(3.3, 6.9), help="of the figure in inches (default: 6.9)"
    )
    for add in (ask, look):
        add_model_options(add)
    ask("--max-new-tokens", type=int, default=64, metavar="N", help="default: 64")
    ask("--json", action="store_true", help="print answer, model and timing as one JSON object, or a list")


def add_model_options(add: AddArgument) -> None:
    """Options that name a model and say how it is run."""
    add("--model", default="pico", metavar="NAME", help=_MODEL)
    add("--backbone", metavar="NAME", help=_BACKBONE)
    add("--store", metavar="FOLDER", help="stored features, as `vega3d cache build` makes them")
    add("--frames", type=int, default=8, metavar="N", help="frames to look at (default: 8)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    add("--quiet", action="store_true", help="no progress and no notes on standard error")


def load_model(arguments: argparse.Namespace) -> Pipeline:
    """Load what the options name, with progress on standard error."""
    from transformers.utils import logging as transformers_logging

    from vega3d.pipeline import load

    if arguments.quiet:
        transformers_logging.disable_progress_bar()
    log = partial(note, quiet=arguments.quiet)
    return load(arguments.model, arguments.backbone, store=arguments.store, device=arguments.device, log=log)


def files_of(word: str) -> list[str]:
    """Files that a word of the command line stands for: its home folder and its pattern are resolved.

    Raises:
        MediaNotFoundError: a pattern without a file.
    """
    if "://" in word:
        return [word]
    path = str(Path(word).expanduser())
    if Path(path).exists() or not glob.has_magic(path):
        return [path]
    files = sorted(glob.glob(path, recursive=True))
    if not files:
        title, expected = f"Cannot find any file for the pattern {word!r}.", "at least one video or photo"
        raise MediaNotFoundError(
            title, got="no file", expected=expected, fix="check the folder and the suffix"
        )
    return files


def check_clip(path: str, frames: int) -> None:
    """Refuse a clip that cannot be read, or has not as many frames; reads no more than needed.

    Raises:
        MediaNotFoundError, MediaError: it is missing or damaged.
        InputError: it has fewer frames.
    """
    from vega3d.media.decoding import is_photo, probe, sample_indices
    from vega3d.media.image import image_size

    if is_photo(path):
        image_size(path)
        return
    info = probe(path)
    try:
        sample_indices(info, nframes=frames)
    except InputError as error:
        most = info.n_frames - info.n_frames % 2 or 1
        title, expected = f"Invalid --frames {frames} for {path!r}.", f"1 to {most}"
        got = f"{info.n_frames} frames in the video"
        raise InputError(title, got=got, expected=expected, fix=f"pass --frames {min(most, 8)}") from error


def require_models(model: str, backbone: str | None) -> None:
    """Refuse names of models that are nowhere, before anything is imported that takes long.

    Raises:
        HostError, BackboneError: there is no model of that name.
    """
    from vega3d._utils.hub import require_repository

    kinds = (("model", model, HostError, _MODEL), ("backbone", backbone, BackboneError, _BACKBONE))
    for what, name, error, expected in kinds:
        if name not in (None, PICO, "none"):
            require_repository(Path(name).expanduser(), error=error, what=what, expected=expected)


def open_model(arguments: argparse.Namespace) -> tuple[Pipeline, list[str]]:
    """The model, and notes without which an answer is easily misread; they are printed, too.

    ``arguments.video`` becomes the file, or the list of files, that it stands for.
    """
    require_models(arguments.model, arguments.backbone)
    several = isinstance(arguments.video, list)
    words = arguments.video if several else [arguments.video]
    clips = [path for word in words for path in files_of(word)]
    for path in clips:  # before anything is loaded that takes long
        check_clip(path, arguments.frames)
    arguments.video = clips if several else clips[0]
    from vega3d.pipeline import attention_of

    pipeline = load_model(arguments)
    used = attention_of(pipeline.adapter)
    attention = f"attention {used['host']} in the host, {used['backbone']} in the backbone"
    note(f"device {pipeline.adapter.device}, {attention}", quiet=arguments.quiet)
    notes = notes_of(pipeline, clips)
    if not arguments.quiet:
        sys.stderr.write("".join(notes))
    return pipeline, notes


def notes_of(pipeline: Pipeline, clips: list[str]) -> list[str]:
    """Notes about a model on these clips."""
    from vega3d.rooms import rooms_source

    notes = [] if pipeline.trained else [UNTRAINED]
    if not pipeline.is_pico:
        return notes
    worlds = {source and source[1] for source in map(rooms_source, clips)}
    if None in worlds:
        return [ONLY_ROOMS, *notes]
    return notes if worlds == {PICO_WORLD} else [OTHER_WORLD, *notes]


def _ask(arguments: argparse.Namespace) -> None:
    """Load, ask, print."""
    pipeline, notes = open_model(arguments)
    records = []
    for clip in arguments.video:
        start = time.perf_counter()
        answer = pipeline.ask(
            clip, arguments.question, nframes=arguments.frames, max_new_tokens=arguments.max_new_tokens
        )
        seconds = round(time.perf_counter() - start, 3)
        records.append(_record(pipeline, answer, clip) | {"seconds": seconds, "notes": notes})
        if not arguments.json:
            print(answer.text if len(arguments.video) == 1 else f"{clip}: {answer.text}", flush=True)
    if arguments.json:
        print(json.dumps(records if len(records) > 1 else records[0], indent=2))


def _record(pipeline: Pipeline, answer: Answer, clip: str) -> dict[str, Any]:
    from vega3d.pipeline import attention_of

    adapter = pipeline.adapter
    return {
        "question": answer.question,
        "answer": answer.text,
        "video": clip,
        "model": pipeline.name,
        "host": adapter.vega3d_config.host.path,
        "backbone": adapter.vega3d_config.backbone.path,
        "trained_fusion": pipeline.trained,
        "device": str(adapter.device),
        "attention": attention_of(adapter),
        "frames": len(answer.frames),
    }


def _look(arguments: argparse.Namespace) -> None:
    """Load, encode, draw, print paths."""
    pipeline, _ = open_model(arguments)  # before imports that take long: it refuses wrong names at once
    from vega3d.analysis.look import About, look_at, times_of, write_look
    from vega3d.media.decoding import read_frames

    video, question = arguments.video, arguments.question or ""
    if question:
        seen = pipeline.ask(video, question, nframes=arguments.frames)
        print(seen.text)
    else:
        seen = pipeline.look(video, nframes=arguments.frames)
    frames = seen.frames if len(seen.frames) else read_frames(video, seen.plan.generative)  # features stored
    seconds = times_of(video, seen.plan)
    about = About(Path(video).name, question, seen.text, pipeline.name, seconds, pipeline.trained)
    look = look_at(seen.encoding, frames, seen.plan, about)
    print(*write_look(look, arguments.out, format=arguments.format, width=arguments.width), sep="\n")
