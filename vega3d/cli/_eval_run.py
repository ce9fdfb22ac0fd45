"""``vega3d eval run``: options, loading, progress."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any

from vega3d._utils.progress import bar, no_progress
from vega3d.cli._command import Commands
from vega3d.cli.ask import load_model
from vega3d.errors import ConfigError

FOLLOW_LINKS = (
    "follow links below DIR that lead out of it; a link that stands in DIR itself is followed anyway"
)
_MODEL = "pico, a vega3d checkpoint, or a Qwen-VL: folder or hub id"
_DATA = "the benchmark's folder (see eval check), or hub:OWNER/NAME"
_SEND = "frames as pictures of one clip or as one video (default: the benchmark's, mostly images)"


def add_run(actions: Commands) -> None:
    """Register the action."""
    add = actions.add(
        run,
        help="ask a model the questions of a benchmark",
        description="Ask every question once and score the answers. An interrupted run resumes when the "
        "same command is given again. Several processes: accelerate launch -m vega3d.cli.main "
        "eval run ...",
        epilog="example: vega3d eval run pico --tasks vsibench --data out/ --out runs/pico",
    )
    add("model", metavar="MODEL", help=_MODEL)
    add("--tasks", required=True, metavar="A,B", help="names of `vega3d eval list`")
    add("--data", required=True, metavar="DIR", help=_DATA)
    add("--follow-links", action="store_true", help=FOLLOW_LINKS)
    add("--download", action="store_true", help="fetch a hub: data set that is not here")
    add("--out", required=True, metavar="DIR", help="the run's folder; one folder a task in it")
    add("--backbone", metavar="NAME", help="pico, none, or a Wan2.1")
    add("--store", metavar="FOLDER", help="stored features")
    add("--plain", action="store_true", help="the host alone, with the same messages and pixels")
    add("--swap-features", action="store_true", help="features of another clip")
    add("--frames", type=int, metavar="N", help="default: the benchmark's")
    add("--send", choices=("images", "video"), help=_SEND)
    add("--max-pixels", type=int, metavar="N", help="area of a frame for the host")
    add("--batch-size", type=int, default=1, metavar="N", help="questions at once (default: 1)")
    add("--limit", type=int, metavar="N", help="only the first N questions")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    add("--quiet", action="store_true", help="no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Load once, run each task, print its headline; 1 if a question could not be asked."""
    import torch

    from vega3d.evaluation.benchmarks import load_protocol
    from vega3d.evaluation.hub import folder_of
    from vega3d.evaluation.run.report import write_overview

    _check(arguments)
    protocols = [load_protocol(name) for name in arguments.tasks.split(",")]
    root = folder_of(arguments.data, download=arguments.download)
    samples = [p.samples(root, follow_links=arguments.follow_links)[: arguments.limit] for p in protocols]
    share = _share(arguments.device)
    torch.manual_seed(0)  # untrained layers are drawn: the same ones in every process and after a kill
    pipeline = load_model(arguments)
    errors = sum(
        _run_task(arguments, protocol, task_samples, pipeline, share)
        for protocol, task_samples in zip(protocols, samples, strict=True)
    )
    if share.rank == 0 and len(protocols) > 1:
        print(write_overview(Path(arguments.out)))
    return 1 if errors else 0


def _run_task(
    arguments: argparse.Namespace, protocol: Any, samples: list[Any], pipeline: Any, share: Any
) -> int:
    """Run one task, write its pages, and return the number of its errors."""
    from vega3d.evaluation.run.model import EvalModel
    from vega3d.evaluation.run.provenance import settings_of
    from vega3d.evaluation.run.report import write_pages
    from vega3d.evaluation.run.runner import run as run_samples

    media, tokens = protocol.benchmark.media, protocol.benchmark.max_new_tokens
    frames = media.frames if media.all_frames else arguments.frames or media.frames
    send, plain, pixels = arguments.send or media.send, arguments.plain, arguments.max_pixels
    model = EvalModel(pipeline, frames, send, tokens, plain, pixels, media.label)
    how = {"batch_size": arguments.batch_size, "swap": arguments.swap_features}
    settings = settings_of(protocol, samples, model, **how)
    folder = Path(arguments.out) / protocol.name.replace("/", "-")
    is_quiet = arguments.quiet or share.rank  # one bar, also for several processes
    shown = contextlib.nullcontext(no_progress) if is_quiet else bar(protocol.name, "batch")
    with shown as progress:
        finished = run_samples(
            protocol, samples, model, folder, settings, **how, share=share, progress=progress
        )
    if finished is None:
        return 0
    _print_result(finished[0])
    print(folder / "result.json", *write_pages(folder, *finished), sep="\n")
    return int(finished[0]["count"]["errors"])


def _check(arguments: argparse.Namespace) -> None:
    for name in ("frames", "max_pixels", "batch_size", "limit"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"Invalid {option}.", got=value, expected="1 or more", fix=f"correct {option}")
    if arguments.plain and arguments.swap_features:
        what, fix = "Invalid --swap-features: the host alone has no features.", "make two runs and compare"
        raise ConfigError(what, got="--plain and --swap-features", expected="one of them", fix=fix)


def _share(device: str) -> Any:
    """This process among those that `accelerate launch` started; alone without it."""
    from vega3d.evaluation.run.runner import Share

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Share()
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return Share(state.process_index, state.num_processes, state.wait_for_everyone)


def _print_result(result: dict[str, Any]) -> None:
    from vega3d.evaluation.run.percent import FEWEST

    count, error = result["count"], result["macro"]["standard_error"]
    is_known = error is not None and count["answered"] >= FEWEST
    spread = f"   standard error of the macro mean {100 * error:.2f} points" if is_known else ""
    for name, value in result["headline"].items():
        shown = "null" if value is None else f"{value:.4f}"
        print(f"{result['task']:28} {name:36} {shown:>10}{spread}")
    official = count["official"] or "?"
    print(f"{count['answered']} answered, {count['errors']} errors, {official} in the official split")
