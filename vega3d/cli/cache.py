"""``vega3d cache estimate | build | verify | repair | stats | gc``: stored features of annotation files."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vega3d._utils.durations import in_time
from vega3d.cli import _cache
from vega3d.cli._command import AddArgument, Commands, Run

EPILOG = """examples:
  vega3d cache estimate train.json --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers --max-frames 32
  vega3d cache build features/ train.json --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers --max-frames 32
  torchrun --nproc-per-node 8 -m vega3d.cli.main cache build features/ train.json    (resumes, on 8 GPUs)
  vega3d cache verify features/  &&  vega3d cache stats features/ train.json --max-frames 32
"""
_SAMPLING_OPTIONS = [f"--{name.replace('_', '-')}" for name in _cache.SAMPLING]
_SAMPLED = f"frames are sampled as the processor does: {', '.join(_SAMPLING_OPTIONS)}"
_STORE, _FILES = "folder of the store", "JSON or JSONL files"
_MARKS = "who sees what messages draw on pictures, as the model's config has it (default: host)"


def add_parser(commands: Commands) -> None:
    """Register the command and its parts."""
    parts = commands.group(
        "cache",
        "part",
        help="compute the generator's features once and keep them",
        description="Keep the generator's features on disk, so that the frozen branch is paid for once.",
        epilog=EPILOG,
    )
    add = _part(parts, _estimate, "bytes and hours, before anything is computed", "", _FILES)
    _add_generator(add)
    add("--tflops", type=float, metavar="N", help="rate to reckon with (default: timed here)")
    made = f"{_STORE}; made if it is not there"
    add = _part(parts, _build, "compute what is not there yet; can be killed and run again", made, _FILES)
    _add_generator(add)
    add = _part(parts, _verify, "read every byte and compare it with its checksum")
    add("--no-media", action="store_true", help="do not compare the files that features are of")
    add = _part(parts, _repair, "drop what is damaged or stale, and compute only that again")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    _part(parts, _stats, "what is stored, and how often annotations share it", _STORE, f"{_FILES}; optional")
    add = _part(parts, _gc, "drop what none of the annotations need", _STORE, _FILES)
    add("--dry-run", action="store_true", help="only say what would be dropped")


def _part(parts: Commands, run: Run, text: str, store: str = _STORE, media: str = "") -> AddArgument:
    """Add a part; ``store`` and ``media`` are the help of its positional arguments, if it has them."""
    epilog = _SAMPLED if media else ""
    add = parts.add(run, help=text, description=f"{text.capitalize()}.", epilog=epilog)
    if store:
        add("store", help=store)
    if media:
        _add_media(add, media)
    return add


def _add_media(add: AddArgument, annotations: str) -> None:
    add("annotations", nargs="*", help=annotations)
    add("--media", nargs="+", default=[], metavar="FILE", help="videos or pictures themselves")
    add("--root", metavar="FOLDER", help="where relative paths of media start")
    add("--allow-urls", action="store_true", help="annotations may name http(s) addresses")
    add("--allow-outside", action="store_true", help="they may name paths outside --root")
    add("--marks", choices=("host", "both"), default="host", help=_MARKS)
    add("--host", metavar="NAME", help=argparse.SUPPRESS)
    for option in _SAMPLING_OPTIONS:
        add(option, type=float if option == "--fps" else int, metavar="N", help=argparse.SUPPRESS)


def _add_generator(add: AddArgument) -> None:
    add("--model", metavar="NAME", help="a vega3d checkpoint whose generator is meant")
    add("--backbone", metavar="NAME", help="pico, or a Wan2.1: folder or hub id")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as mode=clip")
    add("--grid", default="native", metavar="GRID", help="native (default) or pooled")
    add("--precision", default="bfloat16", choices=("bfloat16", "int8", "float32"))
    add("--cells", type=int, default=14, metavar="K", help="for pooled: K x K (default: 14)")
    identities, text = ("content", "stat"), "hash files, or trust size and time"
    add("--identity", default="content", choices=identities, help=text)
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")


# ---------------------------------------------------------------- the parts


def _estimate(arguments: argparse.Namespace) -> int:
    import torch

    from vega3d.costs.stored import cost_of, measured_rate
    from vega3d.pipeline import device_of
    from vega3d.store import FeatureFormat

    _cache.require_media(arguments)
    settings = _cache.config(arguments).backbone
    form = FeatureFormat(arguments.grid, arguments.precision, arguments.cells)
    problems, asked = _cache.plan(arguments, settings, None)
    cost = cost_of({job.key.digest: job for job in asked}.values(), settings, form)
    device, dtype = device_of(arguments.device), getattr(torch, getattr(settings, "dtype", "float32"))
    rate = (arguments.tflops or 0.0) * 1e12 or measured_rate(device, dtype)
    print(f"mode {getattr(settings, 'mode', '-')}, grid {form.grid}, {form.precision}")
    print(f"{len(asked):,} runs asked for, {cost.runs:,} different: {cost.frames:,} frames")
    one_map = cost.bytes / max(1, cost.steps)
    print(f"{_cache.in_bytes(cost.bytes)} in all, {_cache.in_bytes(one_map)} a feature map")
    print(f"{cost.flops / 1e12:,.1f} TFLOP: {in_time(3600 * cost.hours(rate))} at {rate / 1e12:.2f} TFLOP/s")
    timed = f"half of a matrix product's rate, timed on {device}"
    print("given with --tflops" if arguments.tflops else timed)
    return _cache.report_problems(problems)


def _build(arguments: argparse.Namespace) -> int:
    from vega3d.registry import backbone_record
    from vega3d.store import FeatureFormat, FeatureStore
    from vega3d.store.format import MANIFEST

    _cache.require_media(arguments)
    form = FeatureFormat(arguments.grid, arguments.precision, arguments.cells)
    store = FeatureStore(arguments.store) if Path(arguments.store, MANIFEST).exists() else None
    settings = _cache.config(arguments, store)
    backbone = _cache.load_generator(arguments, settings)
    fingerprint, record = backbone.fingerprint(), backbone_record(backbone.spec.config)
    if store is None:
        identity = arguments.identity
        store = FeatureStore.create(
            arguments.store, fingerprint=fingerprint, backbone=record, form=form, identity=identity
        )
    store.require_fingerprint(fingerprint, record)
    problems, asked = _cache.plan(arguments, backbone.spec.config, store.identity, "planning")
    report = _cache.compute(store, backbone, asked)
    if os.environ.get("RANK", "0") == "0":
        store.compact()
    print(f"{report.computed:,} runs computed, {report.held:,} were there, {len(asked):,} asked for")
    return _cache.report_problems(problems + report.problems)


def _verify(arguments: argparse.Namespace) -> int:
    from vega3d.store import FeatureStore

    damages, sound = _cache.check(FeatureStore(arguments.store), media=not arguments.no_media)
    for damage in damages:
        print(f"{damage.file.name}: {damage.problem}" + (f" ({damage.digest})" if damage.digest else ""))
    print(f"{sound:,} runs are whole, {len(damages):,} are not")
    if damages:
        print(f"vega3d cache repair {arguments.store}", file=sys.stderr)
    return 1 if damages else 0


def _repair(arguments: argparse.Namespace) -> int:
    from vega3d.cache import Report
    from vega3d.cache.maintenance import drop, lost_jobs
    from vega3d.store import FeatureStore

    store = FeatureStore(arguments.store)
    damages, sound = _cache.check(store, media=True)
    if not damages:
        print(f"nothing to repair: {sound:,} runs are whole")
        return 0
    jobs = lost_jobs(damages, store.identity)
    backbone = _cache.load_generator(arguments, _cache.stored_config(store)) if jobs else None
    drop(store, damages)  # only once the generator is there
    report = _cache.compute(store, backbone, jobs) if jobs else Report()
    print(f"{len(damages):,} dropped, {report.computed:,} computed again, {sound:,} were whole")
    if len(jobs) < len(damages):
        print("the rest is stale, or its description is lost: `vega3d cache build` computes what is needed")
    return _cache.report_problems(report.problems)


def _stats(arguments: argparse.Namespace) -> int:
    from vega3d.cache.maintenance import statistics
    from vega3d.store import FeatureStore

    store = FeatureStore(arguments.store)
    settings, has_media = _cache.stored_config(store).backbone, arguments.annotations or arguments.media
    problems, asked = _cache.plan(arguments, settings, store.identity) if has_media else ([], [])
    totals = statistics(store, (job.key.digest for job in asked))
    mode = store.backbone.get("mode", "-")
    print(f"{store.backbone['type']}, mode {mode}, fingerprint {store.fingerprint}")
    print(f"grid {store.form.grid}, {store.form.precision}, files identified by {store.identity}")
    print(f"{totals.runs:,} runs of {totals.frames:,} frames of {totals.media:,} media")
    print(f"{_cache.in_bytes(totals.bytes)} in {totals.shards:,} shards")
    for line, count in totals.provenance.most_common():
        print(f"{count:,} shards: {line}")
    if asked:
        each = f"{totals.sharing:.2f} times each"
        print(f"{totals.references:,} runs asked for, {totals.needed:,} different ({each})")
        print(f"{totals.covered:,} of them are stored, {totals.needed - totals.covered:,} are not")
    return _cache.report_problems(problems)


def _gc(arguments: argparse.Namespace) -> int:
    from vega3d.cache.maintenance import collect
    from vega3d.store import FeatureStore

    _cache.require_media(arguments)
    store = FeatureStore(arguments.store)
    problems, asked = _cache.plan(arguments, _cache.stored_config(store).backbone, store.identity)
    if problems:
        print("nothing is dropped: not every medium could be read", file=sys.stderr)
        return _cache.report_problems(problems)
    runs, size = collect(store, {job.key.digest for job in asked}, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        store.compact()
    print(f"{runs:,} runs, {_cache.in_bytes(size)}: {'would be dropped' if arguments.dry_run else 'dropped'}")
    return 0
