"""The checks of a validation in order: settings, folder, model, store, rows, cost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import vega3d._utils.torchvision  # noqa: F401  (before transformers)
from vega3d.backbones.loading import load_backbone
from vega3d.data import Row
from vega3d.errors import InputError
from vega3d.pipeline import Source
from vega3d.processing import Vega3DProcessor
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.training.collator import Collator
from vega3d.training.config import DataFile, TrainConfig
from vega3d.training.dataset import MixedRows, choose_rows, load_stream, open_rows
from vega3d.training.finetune import precision_of, quantization_of, source_of
from vega3d.training.sampler import rows_by_group
from vega3d.training.validation.plan import Options, model_of, plan_of
from vega3d.training.validation.report import Report
from vega3d.training.validation.rows import Lengths, RowCheck, check_rows
from vega3d.training.validation.settings import (
    arguments_of,
    check_disk,
    check_evaluation,
    check_memory,
    check_output,
    read_config,
    zero_stage,
)

STREAMED = 1000  # rows of a stream that are checked


def validate(
    path: str | os.PathLike[str], overrides: Iterable[str] = (), options: Options | None = None
) -> Report:
    """Check everything that a run will touch; nothing is written, and no error stops it.

    Args:
        path: YAML file.
        overrides: ``key.sub=value``.
        options: None takes the defaults.
    """
    report = Report()
    config = read_config(path, overrides, report)
    if config is not None:
        _check(config, options or Options(), report)
    return report


def _check(config: TrainConfig, options: Options, report: Report) -> None:
    arguments, stage = arguments_of(config, report), zero_stage(config, report)
    folder = Path("" if arguments is None else arguments.output_dir)
    report.attempt("setting", "model.dtype", precision_of, config)
    report.attempt("setting", "model.dtype", quantization_of, config)
    if arguments is not None:
        report.attempt("setting", "eval_data", check_evaluation, config, arguments)
        report.attempt("output", "trainer.output_dir", check_output, folder, config)
    source = report.attempt("model", "model", source_of, config)
    store = report.attempt("store", "store.path", _store, config, source, options)
    if source is not None:
        source = source.with_store(store, only=config.store.only)
    batch = None if arguments is None else arguments.per_device_train_batch_size
    _check_rows(config, source, options, 0 if arguments is None else arguments.seed, batch, report)
    if source is None or (config.store.only and store is None):
        return
    model = report.attempt("model", "model", model_of, config, source)
    if arguments is not None and model is not None:
        rows = sum(count for file, count in report.files.items() if file.startswith("data."))
        report.plan = plan_of(config, arguments, model, rows, report.rows, stage, options)
        kept = arguments.save_total_limit
        report.attempt("output", "trainer.output_dir", check_disk, folder, report.plan, kept)
        report.attempt("memory", "trainer", check_memory, report.plan, options.gpu_memory)


def _store(config: TrainConfig, source: Source | None, options: Options) -> FeatureStore | None:
    """The store, which has to be one of this generator."""
    if config.store.path is None:
        return None
    store = FeatureStore(config.store.path)
    if source is not None:
        store.require_settings(backbone_record(source.config.backbone))
        if options.weights:
            backbone = load_backbone(source.config)
            store.require_fingerprint(backbone.fingerprint(), backbone_record(backbone.spec.config))
    return store


# ---------------------------------------------------------------- rows


def _check_rows(
    config: TrainConfig,
    source: Source | None,
    options: Options,
    seed: int,
    batch: int | None,
    report: Report,
) -> None:
    check = RowCheck(None, None)
    if source is not None:
        load, path = Vega3DProcessor.from_pretrained, str(source.config.host.path)
        processor = report.attempt("model", "model.host", load, path, source.config, store=source.store)
        collator = None
        if processor is not None:
            collator = Collator(processor, max_length=config.max_length, overlong=config.overlong)
        only_stored = config.store.only and source.store is not None
        check = RowCheck(collator, source.config.backbone, only_stored=only_stored)
    for name, entries in (("data", config.data), ("eval_data", config.eval_data)):
        rows, start = _rows(name, entries, config, seed, report), time.perf_counter()
        if name == "data" and config.is_grouped and batch is not None:
            report.attempt("setting", "data.group_by", rows_by_group, [row.group for row in rows], batch)
        lengths = report.rows if name == "data" else Lengths()
        for row in check_rows(rows, check, limit=options.rows, workers=options.workers, seed=seed):
            lengths.add(row.sizes)
            for kind, error in row.errors:
                report.add(kind, row.where, error)
        lengths.seconds += (time.perf_counter() - start) * max(options.workers, 1)


def _rows(
    name: str, entries: Sequence[DataFile], config: TrainConfig, seed: int, report: Report
) -> Sequence[Row]:
    """The distinct rows of an epoch; those that cannot be understood are findings."""
    if entries and entries[0].streaming:
        report.files[f"{name}: streams"] = 0
        stream = report.attempt("annotation", name, load_stream, entries, config.sampling, seed)
        return report.attempt("annotation", name, list[Row], islice(stream or (), STREAMED)) or []
    sources = [_opened(f"{name}.{number}", entry, config, report) for number, entry in enumerate(entries)]
    counts = [len(source) for source in sources]
    chosen = choose_rows(entries, counts, seed, config.epoch_rows if name == "data" else None)
    for number, (entry, rows) in enumerate(zip(entries, chosen, strict=True)):
        report.files[f"{name}.{number} {entry.source}"] = len(rows)
    return MixedRows(sources, [list(dict.fromkeys(rows)) for rows in chosen])


def _opened(where: str, entry: DataFile, config: TrainConfig, report: Report) -> Sequence[Row]:
    def add(error: InputError) -> None:
        report.add("annotation", error.what.split(":")[0].removeprefix("Invalid row "), error)

    rows = report.attempt("annotation", where, open_rows, entry, config.sampling, add)
    if rows is not None and not rows:
        title = f"Missing rows: none of {entry.source} can be used."
        none = InputError(title, got="0 rows", expected="at least one", fix="check the file")
        report.add("annotation", where, none)
    return rows or []
