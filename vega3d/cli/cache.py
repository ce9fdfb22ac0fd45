"""``vega3d cache estimate | build | verify | repair | stats | gc``: stored features of annotation files."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from vega3d._utils.durations import in_time
from vega3d._utils.progress import bar
from vega3d.cli._cache import (
    SAMPLING,
    asked_by,
    checked,
    config_of,
    in_bytes,
    is_store,
    load_generator,
    provenance_of,
    require_media,
    say_problems,
    settings_for,
    stored_config,
)

if TYPE_CHECKING:
    from vega3d.cache import Problem

EPILOG = """examples:
  vega3d cache estimate train.json --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers --max-frames 32
  vega3d cache build features/ train.json --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers --max-frames 32
  torchrun --nproc-per-node 8 -m vega3d.cli.main cache build features/ train.json    (resumes, on 8 GPUs)
  vega3d cache verify features/  &&  vega3d cache stats features/ train.json --max-frames 32
"""


def add_parser(commands: Any) -> None:
    """Register the command and its parts."""
    parser = commands.add_parser(
        "cache",
        help="compute the generator's features once and keep them",
        description="Keep the generator's features on disk, so that the frozen branch is paid for once.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    part = _part(parts, "estimate", _estimate, "bytes and hours, before anything is computed")
    _add_media(part, required=True)
    _add_generator(part)
    part.add_argument("--tflops", type=float, metavar="N", help="rate to reckon with (default: timed here)")
    part = _part(parts, "build", _build, "compute what is not there yet; can be killed and run again")
    part.add_argument("store", help="folder of the store; made if it is not there")
    _add_media(part, required=True)
    _add_generator(part)
    part = _part(parts, "verify", _verify, "read every byte and compare it with its checksum")
    part.add_argument("store", help="folder of the store")
    part.add_argument("--no-media", action="store_true", help="do not compare the files that features are of")
    part = _part(parts, "repair", _repair, "drop what is damaged or stale, and compute only that again")
    part.add_argument("store", help="folder of the store")
    part.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    part = _part(parts, "stats", _stats, "what is stored, and how often annotations share it")
    part.add_argument("store", help="folder of the store")
    _add_media(part, required=False)
    part.add_argument("--host", metavar="NAME", help=argparse.SUPPRESS)
    part = _part(parts, "gc", _gc, "drop what none of the annotations need")
    part.add_argument("store", help="folder of the store")
    _add_media(part, required=True)
    part.add_argument("--host", metavar="NAME", help=argparse.SUPPRESS)
    part.add_argument("--dry-run", action="store_true", help="only say what would be dropped")


_MARKS_HELP = "who sees what messages draw on pictures, as the model's config has it (default: host)"


def _part(parts: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    return parser


def _add_media(parser: argparse.ArgumentParser, *, required: bool) -> None:
    nargs = "*"
    parser.add_argument(
        "annotations", nargs=nargs, help="JSON or JSONL files" + ("" if required else "; optional")
    )
    parser.add_argument(
        "--media", nargs="+", default=[], metavar="FILE", help="videos or pictures themselves"
    )
    parser.add_argument("--root", metavar="FOLDER", help="where relative paths of media start")
    parser.add_argument("--allow-urls", action="store_true", help="annotations may name http(s) addresses")
    parser.add_argument("--allow-outside", action="store_true", help="they may name paths outside --root")
    parser.add_argument("--marks", choices=("host", "both"), default="host", help=_MARKS_HELP)
    for name in SAMPLING:
        kind = float if name == "fps" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=argparse.SUPPRESS)
    parser.epilog = "frames are sampled as the processor does: " + ", ".join(
        f"--{name.replace('_', '-')}" for name in SAMPLING
    )


def _add_generator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="a vega3d checkpoint whose generator is meant")
    parser.add_argument("--backbone", metavar="NAME", help="pico, or a Wan2.1: folder or hub id")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as mode=clip"
    )
    parser.add_argument("--host", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--grid", default="native", metavar="GRID", help="native (default) or pooled")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "int8", "float32"))
    parser.add_argument("--cells", type=int, default=14, metavar="K", help="for pooled: K x K (default: 14)")
    parser.add_argument(
        "--identity",
        default="content",
        choices=("content", "stat"),
        help="hash files, or trust size and time",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")


# ---------------------------------------------------------------- the parts


def _estimate(arguments: argparse.Namespace) -> int:
    import torch

    from vega3d.costs.stored import cost_of, measured_rate
    from vega3d.pipeline import device_of
    from vega3d.store import FeatureFormat

    require_media(arguments)
    config = config_of(arguments)
    form = FeatureFormat(arguments.grid, arguments.precision, arguments.cells)
    settings = config.backbone
    problems, asked = asked_by(arguments, settings, None)
    jobs = list({job.key.digest: job for job in asked}.values())
    cost = cost_of(jobs, settings, form)
    device, dtype = device_of(arguments.device), getattr(torch, getattr(settings, "dtype", "float32"))
    rate = (arguments.tflops or 0.0) * 1e12 or measured_rate(device, dtype)
    print(f"mode {getattr(settings, 'mode', '-')}, grid {form.grid}, {form.precision}")
    print(f"{len(asked):,} runs asked for, {cost.runs:,} different: {cost.frames:,} frames")
    print(f"{in_bytes(cost.bytes)} in all, {in_bytes(cost.bytes / max(1, cost.steps))} a feature map")
    print(f"{cost.flops / 1e12:,.1f} TFLOP: {in_time(3600 * cost.hours(rate))} at {rate / 1e12:.2f} TFLOP/s")
    print(
        "given with --tflops" if arguments.tflops else f"half of a matrix product's rate, timed on {device}"
    )
    return say_problems(problems)


def _build(arguments: argparse.Namespace) -> int:
    from vega3d.cache import build
    from vega3d.registry import backbone_record
    from vega3d.store import FeatureFormat, FeatureStore

    require_media(arguments)
    form = FeatureFormat(arguments.grid, arguments.precision, arguments.cells)
    store = FeatureStore(arguments.store) if is_store(arguments.store) else None
    config = settings_for(arguments, store)
    backbone = load_generator(arguments, config)
    if store is None:
        store = FeatureStore.create(
            arguments.store,
            fingerprint=backbone.fingerprint(),
            backbone=backbone_record(backbone.spec.config),
            form=form,
            identity=arguments.identity,
        )
    store.require_fingerprint(backbone.fingerprint(), backbone_record(backbone.spec.config))
    problems, asked = asked_by(arguments, backbone.spec.config, store.identity)
    rank = os.environ.get("RANK")
    with bar("computing" if rank is None else f"computing, rank {rank}", "run") as progress:
        report = build(store, backbone, asked, provenance=provenance_of(backbone), progress=progress)
    if rank in (None, "0"):
        store.compact()
    print(f"{report.computed:,} runs computed, {report.held:,} were there, {len(asked):,} asked for")
    return say_problems(problems + report.problems)


def _verify(arguments: argparse.Namespace) -> int:
    from vega3d.store import FeatureStore

    damages, sound = checked(FeatureStore(arguments.store), media=not arguments.no_media)
    for damage in damages:
        print(f"{damage.file.name}: {damage.problem}" + (f" ({damage.digest})" if damage.digest else ""))
    print(f"{sound:,} runs are whole, {len(damages):,} are not")
    if damages:
        print(f"vega3d cache repair {arguments.store}", file=sys.stderr)
    return 1 if damages else 0


def _repair(arguments: argparse.Namespace) -> int:
    from vega3d.cache import build
    from vega3d.cache.maintenance import drop, lost_jobs
    from vega3d.store import FeatureStore

    store = FeatureStore(arguments.store)
    damages, sound = checked(store, media=True)
    if not damages:
        print(f"nothing to repair: {sound:,} runs are whole")
        return 0
    jobs = lost_jobs(damages, store.identity)
    backbone = load_generator(arguments, stored_config(store)) if jobs else None
    drop(store, damages)
    problems: list[Problem] = []
    computed = 0
    if backbone is not None:
        with bar("computing", "run") as progress:
            report = build(store, backbone, jobs, provenance=provenance_of(backbone), progress=progress)
        problems, computed = report.problems, report.computed
    print(f"{len(damages):,} dropped, {computed:,} computed again, {sound:,} were whole")
    if len(jobs) < len(damages):
        print("the rest is stale, or its description is lost: `vega3d cache build` computes what is needed")
    return say_problems(problems)


def _stats(arguments: argparse.Namespace) -> int:
    from vega3d.cache.maintenance import statistics
    from vega3d.store import FeatureStore

    store = FeatureStore(arguments.store)
    problems, asked = (
        asked_by(arguments, stored_config(store).backbone, store.identity)
        if arguments.annotations or arguments.media
        else ([], [])
    )
    totals = statistics(store, (job.key.digest for job in asked))
    print(
        f"{store.backbone['type']}, mode {store.backbone.get('mode', '-')}, fingerprint {store.fingerprint}"
    )
    print(f"grid {store.form.grid}, {store.form.precision}, files identified by {store.identity}")
    print(f"{totals.runs:,} runs of {totals.frames:,} frames of {totals.media:,} media")
    print(f"{in_bytes(totals.bytes)} in {totals.shards:,} shards")
    for line, count in totals.provenance.most_common():
        print(f"{count:,} shards: {line}")
    if asked:
        each = f"{totals.sharing:.2f} times each"
        print(f"{totals.references:,} runs asked for, {totals.needed:,} different ({each})")
        print(f"{totals.covered:,} of them are stored, {totals.needed - totals.covered:,} are not")
    return say_problems(problems)


def _gc(arguments: argparse.Namespace) -> int:
    from vega3d.cache.maintenance import collect
    from vega3d.store import FeatureStore

    require_media(arguments)
    store = FeatureStore(arguments.store)
    problems, asked = asked_by(arguments, stored_config(store).backbone, store.identity)
    if problems:
        print("nothing is dropped: not every medium could be read", file=sys.stderr)
        return say_problems(problems)
    runs, size = collect(store, {job.key.digest for job in asked}, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        store.compact()
    print(f"{runs:,} runs, {in_bytes(size)}: {'would be dropped' if arguments.dry_run else 'dropped'}")
    return 0
