"""``vega3d eval run``: options, loading, progress."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vega3d.cli._eval_more import FOLLOW_LINKS


def add_run(actions: Any) -> None:
    """Register the action."""
    parser = actions.add_parser(
        "run",
        help="ask a model the questions of a benchmark",
        description="Ask every question once and score the answers. A run that was stopped is taken up where "
        "it was left: give the same command again. Several processes: accelerate launch -m vega3d.cli.main "
        "eval run ...",
        epilog="example: vega3d eval run pico --tasks vsibench --data out/ --out runs/pico",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="pico, a vega3d checkpoint, or a Qwen-VL: folder or hub id"
    )
    parser.add_argument("--tasks", required=True, metavar="A,B", help="names of `vega3d eval list`")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="the benchmark's folder (see eval check), or hub:OWNER/NAME",
    )
    parser.add_argument("--follow-links", action="store_true", help=FOLLOW_LINKS)
    parser.add_argument("--download", action="store_true", help="fetch a hub: data set that is not here")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the run's folder; one folder a task in it"
    )
    parser.add_argument("--backbone", default=None, metavar="NAME", help="pico, none, or a Wan2.1")
    parser.add_argument("--store", default=None, metavar="FOLDER", help="stored features")
    parser.add_argument(
        "--plain", action="store_true", help="the host alone, with the same messages and pixels"
    )
    parser.add_argument("--swap-features", action="store_true", help="features of another clip")
    parser.add_argument("--frames", type=int, default=None, metavar="N", help="default: as the protocol says")
    parser.add_argument("--send", choices=("images", "video"), default="images", help=_SEND)
    parser.add_argument(
        "--max-pixels", type=int, default=None, metavar="N", help="area of a frame for the host"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="questions at once (default: 1)"
    )
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="only the first N questions")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


_SEND = "frames as pictures of one clip (the published way, default) or as one video"


def run(arguments: argparse.Namespace) -> int:
    """Load once, run each task, print its headline; 1 if a question could not be asked."""
    from vega3d.evaluation import load_task
    from vega3d.evaluation.suites import load_suite

    _check(arguments)
    pairs = [(load_task(name), load_suite(name)) for name in arguments.tasks.split(",")]
    asked = [_questions(arguments, task, suite) for task, suite in pairs]
    share = _share(arguments.device)
    assistant = _load(arguments)
    failed = 0
    for (task, suite), questions in zip(pairs, asked, strict=True):
        result = _run_task(arguments, task, suite, questions, assistant, share)
        if result is not None:
            failed += result["count"]["errors"]
            _say_result(result, Path(arguments.out) / task.name.replace("/", "-"))
    if share.rank == 0 and len(pairs) > 1:
        from vega3d.evaluation.running.overview import write_overview

        print(write_overview(Path(arguments.out)))
    return 1 if failed else 0


def _questions(arguments: argparse.Namespace, task: Any, suite: Any) -> list[Any]:
    """The protocol's own questions, the first ones of them if there is a limit."""
    from vega3d.evaluation.running.result import belongs
    from vega3d.evaluation.suites.hub import folder_of

    root = folder_of(arguments.data, download=arguments.download)
    questions = suite.read(root, follow_links=arguments.follow_links)
    return [question for question in questions if belongs(task, question)][: arguments.limit]


def _run_task(
    arguments: argparse.Namespace, task: Any, suite: Any, questions: list[Any], assistant: Any, share: Any
) -> dict[str, Any] | None:
    from vega3d.evaluation.running.answerer import Answerer
    from vega3d.evaluation.running.provenance import settings_of
    from vega3d.evaluation.running.runner import run as run_questions

    answerer = Answerer(
        assistant,
        suite.frames if suite.all_frames else arguments.frames or suite.frames,
        arguments.send,
        suite.max_new_tokens,
        arguments.plain,
        arguments.max_pixels,
        suite.label,
    )
    how = {"batch_size": arguments.batch_size, "swap": arguments.swap_features}
    settings = settings_of(task, questions, answerer, **how)
    folder = Path(arguments.out) / task.name.replace("/", "-")
    progress = (lambda *_: None) if arguments.quiet else _progress(task.name)
    return run_questions(
        task, suite, questions, answerer, folder, settings, **how, share=share, progress=progress
    )


def _load(arguments: argparse.Namespace) -> Any:
    import torch

    from vega3d.assistant import Assistant

    torch.manual_seed(0)  # untrained layers are drawn: the same ones in every process and after a kill

    def say(text: str) -> None:
        if not arguments.quiet:
            print(f"[vega3d] {text}", file=sys.stderr, flush=True)

    return Assistant.load(
        arguments.model, arguments.backbone, store=arguments.store, device=arguments.device, say=say
    )


def _check(arguments: argparse.Namespace) -> None:
    from vega3d.errors import ConfigError

    for name in ("frames", "max_pixels", "batch_size", "limit"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} is below 1.", got=value, expected="1 or more", fix=f"correct {option}"
            )
    if arguments.plain and arguments.swap_features:
        raise ConfigError(
            "The host alone has no features to swap.",
            got="--plain and --swap-features",
            expected="one of them",
            fix="make two runs and compare them",
        )


def _share(device: str) -> Any:
    """This process among those that `accelerate launch` started; alone without it."""
    import os

    from vega3d.evaluation.running.runner import Share

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Share()
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return Share(state.process_index, state.num_processes, state.wait_for_everyone)


def _progress(name: str) -> Any:
    def say(done: int, total: int, left: float) -> None:
        print(f"[vega3d] {name}: batch {done}/{total}, about {left:.0f} s left", file=sys.stderr, flush=True)

    return say


def _say_result(result: dict[str, Any], folder: Path) -> None:
    from vega3d.evaluation.running.report import write_report

    count = result["count"]
    for name, value in result["headline"].items():
        error = result["macro"]["standard_error"]
        shown = "null" if value is None else f"{value:.4f}"
        spread = "" if error is None else f"   standard error of the macro mean {100 * error:.2f} points"
        print(f"{result['task']:28} {name:36} {shown:>10}{spread}")
    print(
        f"{count['answered']} answered, {count['errors']} errors, "
        f"{count['official'] or '?'} in the official split"
    )
    for path in (folder / "result.json", *write_report(folder)):
        print(path)
