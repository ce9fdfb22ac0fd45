"""``vega3d validate``: everything that would stop or spoil a run, found before any GPU time, all at once.

report = validate("configs/train/rooms_pico_lora.yaml", gpus=1)
report.findings        # problems; empty for a run that can start
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from vega3d.training.validation.findings import Finding, Findings
from vega3d.training.validation.plan import Plan, model_of, plan_of
from vega3d.training.validation.room import check_output, check_room
from vega3d.training.validation.rows import Lengths, RowCheck, check_rows
from vega3d.training.validation.settings import arguments_of, check_evaluation, read_settings, zero_stage

__all__ = ["Finding", "Lengths", "Options", "Plan", "Report", "validate"]

STREAMED = 1000  # rows of a stream that are checked


@dataclass(frozen=True)
class Options:
    """Options of a validation.

    Attributes:
        gpus: of the run.
        gpu_memory: bytes of each; None compares nothing.
        tflops: assumed rate of each.
        rows: whose media are opened, drawn by seed; None is all.
        workers: processes that open media.
        weights: load the generator, and compare it with the store by its weights.
    """

    gpus: int = 1
    gpu_memory: int | None = None
    tflops: float = 200.0
    rows: int | None = None
    workers: int = 0
    weights: bool = False


@dataclass
class Report:
    """Result of a validation.

    Attributes:
        findings: problems; empty for a run that can start.
        files: rows of an epoch by file.
        rows: sizes of the rows.
        plan: cost of the run; None if its settings do not make a run.
    """

    findings: list[Finding] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    rows: Lengths = field(default_factory=Lengths)
    plan: Plan | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plan = asdict(self.plan) | {"peak": self.plan.peak} if self.plan is not None else None
        findings = [one.to_dict() for one in self.findings]
        return {"findings": findings, "files": self.files, "rows": asdict(self.rows), "plan": plan}


def validate(
    path: str | os.PathLike[str], overrides: Iterable[str] = (), options: Options | None = None
) -> Report:
    """Check everything that a run will touch; nothing is written, and no error stops it.

    Args:
        path: YAML file.
        overrides: ``key.sub=value``.
        options: None takes the defaults.
    """
    findings, report = Findings(), Report()
    config = read_settings(path, overrides, findings)
    if config is not None:
        _check(config, options or Options(), findings, report)
    report.findings = findings.found
    return report


def _check(config: TrainConfig, options: Options, findings: Findings, report: Report) -> None:
    arguments, stage = arguments_of(config, findings), zero_stage(config, findings)
    findings.attempt("setting", "model.dtype", lambda: precision_of(config))
    findings.attempt("setting", "model.dtype", lambda: quantization_of(config))
    if arguments is not None:
        check_evaluation(config, arguments, findings)
        check_output(Path(arguments.output_dir), config, findings)
    source = findings.attempt("model", "model", lambda: source_of(config))
    store = findings.attempt("store", "store.path", lambda: _store(config, source, options))
    if source is not None:
        source = source.with_store(store, only=config.store.only)
    seed = 0 if arguments is None else arguments.seed
    _check_rows(config, source, options, seed, findings, report)
    if source is None or (config.store.only and store is None):
        return
    model = findings.attempt("model", "model", lambda: model_of(config, source.config))
    if arguments is not None and model is not None:
        rows = sum(count for file, count in report.files.items() if file.startswith("data."))
        report.plan = plan_of(
            arguments, model, rows, report.rows, stage=stage, gpus=options.gpus, tflops=options.tflops
        )
        check_room(report.plan, arguments, options.gpu_memory, findings)


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
    findings: Findings,
    report: Report,
) -> None:
    check = RowCheck(
        _collator(config, source, findings),
        source.config.backbone if source is not None else None,
        only_stored=config.store.only and source is not None and source.store is not None,
    )
    for name, entries in (("data", config.data), ("eval_data", config.eval_data)):
        rows = _rows(name, entries, config, seed, findings, report)
        lengths = report.rows if name == "data" else Lengths()
        checked = check_rows(rows, check, limit=options.rows, workers=options.workers, seed=seed)
        for row in lengths.of(checked, options.workers):
            for kind, error in row.errors:
                findings.add(kind, row.where, error)


def _collator(config: TrainConfig, source: Source | None, findings: Findings) -> Collator | None:
    if source is None:
        return None
    path, settings = str(source.config.host.path), source.config
    processor = findings.attempt(
        "model", "model.host", lambda: Vega3DProcessor.from_pretrained(path, settings, store=source.store)
    )
    if processor is None:
        return None
    return Collator(processor, max_length=config.max_length, overlong=config.overlong)


def _rows(
    name: str, entries: Sequence[DataFile], config: TrainConfig, seed: int, findings: Findings, report: Report
) -> Sequence[Row]:
    """The distinct rows of an epoch; those that cannot be understood are findings."""
    if entries and entries[0].streaming:
        report.files[f"{name}: streams"] = 0
        return findings.attempt("annotation", name, lambda: _head(entries, config, seed)) or []
    sources = [_opened(f"{name}.{number}", entry, config, findings) for number, entry in enumerate(entries)]
    counts = [len(source) for source in sources]
    chosen = choose_rows(entries, counts, seed, config.epoch_rows if name == "data" else None)
    for number, (entry, rows) in enumerate(zip(entries, chosen, strict=True)):
        report.files[f"{name}.{number} {entry.source}"] = len(rows)
    return MixedRows(sources, [list(dict.fromkeys(rows)) for rows in chosen])


def _opened(where: str, entry: DataFile, config: TrainConfig, findings: Findings) -> Sequence[Row]:
    def add(error: InputError) -> None:
        findings.add("annotation", error.what.split(":")[0].removeprefix("Invalid row "), error)

    rows = findings.attempt("annotation", where, lambda: open_rows(entry, config.sampling, add))
    if rows is not None and not rows:
        findings.add("annotation", where, _no_rows(entry.source))
    return rows or []


def _head(entries: Sequence[DataFile], config: TrainConfig, seed: int) -> list[Row]:
    stream = iter(load_stream(entries, config.sampling, seed))
    return [row for row, _ in zip(stream, range(STREAMED), strict=False)]


def _no_rows(source: str) -> InputError:
    return InputError(
        f"Missing rows: none of {source} can be used.",
        got="0 rows",
        expected="at least one",
        fix="check the file",
    )
