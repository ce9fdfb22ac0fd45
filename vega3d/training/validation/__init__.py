"""``vega3d validate``: everything that would stop or spoil a run, found before any GPU time, all at once.

    report = validate("configs/train/rooms_pico_lora.yaml", gpus=1)
    report.findings        # what is wrong; empty for a run that can start

This module decides what is looked at, and in which order; how, is in the modules beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import vega3d._torchvision  # noqa: F401  (before transformers)
from vega3d.adapter import load_backbone
from vega3d.config import Vega3DConfig
from vega3d.data import Row, tried_rows
from vega3d.data.tables import TableRows
from vega3d.errors import HostError, InputError, Vega3DError
from vega3d.processing import Vega3DProcessor
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.training.collator import Collator
from vega3d.training.config import DataFile, TrainConfig
from vega3d.training.rows import Joined, Packed, how_often, load_stream, sampled, spar_of, weighted
from vega3d.training.run import precision_of, quantization_of, settings_of
from vega3d.training.validation.findings import Finding, Findings
from vega3d.training.validation.plan import Plan, model_of, plan_of
from vega3d.training.validation.room import check_output, check_room
from vega3d.training.validation.rows import Lengths, RowCheck, check_rows
from vega3d.training.validation.settings import (
    arguments_of,
    check_evaluation,
    check_precision,
    read_settings,
    zero_stage,
)

__all__ = ["Finding", "Lengths", "Options", "Plan", "Report", "validate"]

STREAMED = 1000  # rows that are looked at of a stream


@dataclass(frozen=True)
class Options:
    """How a config is looked at.

    Attributes:
        gpus: that the run will have.
        gpu_memory: bytes of each; None compares nothing.
        tflops: rate on each of them that hours are counted with.
        rows: whose media are opened, drawn by seed; None is all.
        workers: processes that open them.
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
    """What was found.

    Attributes:
        findings: problems; empty for a run that can start.
        files: rows of an epoch by file.
        rows: what the rows are.
        plan: what the run will take; None if its settings do not make a run.
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
    """Look at everything that a run will touch; nothing is written, and no error stops it.

    Args:
        path: YAML file.
        overrides: ``key.sub=value``.
        options: how.
    """
    findings, options, report = Findings(), options or Options(), Report()
    config = read_settings(path, overrides, findings)
    if config is not None:
        _look(config, options, findings, report)
    report.findings = findings.found
    return report


def _look(config: TrainConfig, options: Options, findings: Findings, report: Report) -> None:
    arguments, stage = arguments_of(config, findings), zero_stage(config, findings)
    check_precision(config, precision_of, findings)
    if arguments is not None:
        check_evaluation(config, arguments, findings)
        check_output(Path(arguments.output_dir), config, findings)
    check_precision(config, quantization_of, findings)
    own = _tried(findings, "model", "model", lambda: settings_of(config.model)[0])
    store = _store(config, own, options, findings)
    seed = 0 if arguments is None else arguments.seed
    check = RowCheck(
        _collator(config, own, store, findings),
        own.backbone if own is not None else None,
        only_stored=config.store.only and store is not None,
    )
    for name, entries in (("data", config.data), ("eval_data", config.eval_data)):
        rows = _rows(name, entries, config, seed, findings, report)
        counted = report.rows if name == "data" else Lengths()
        checked = check_rows(rows, check, limit=options.rows, workers=options.workers, seed=seed)
        for one in counted.of(checked, options.workers):
            for kind, error in one.errors:
                findings.add(kind, one.where, error)
    known = _with_width(own, store) if config.store.only else own
    model = _tried(findings, "model", "model", lambda: model_of(config, known)) if known else None
    if arguments is not None and model is not None:
        rows_of_epoch = sum(count for file, count in report.files.items() if file.startswith("data."))
        report.plan = plan_of(
            arguments,
            model,
            rows_of_epoch,
            report.rows,
            stage=stage,
            gpus=options.gpus,
            tflops=options.tflops,
        )
        check_room(report.plan, arguments, options.gpu_memory, findings)


def _with_width(own: Vega3DConfig | None, store: FeatureStore | None) -> Vega3DConfig | None:
    """Settings with the generator's width, which a store knows where no generator is loaded."""
    if own is None or store is None:
        return None
    return replace(own, backbone=replace(own.backbone, channels=store.backbone["channels"]))


def _tried(findings: Findings, kind: Any, where: str, make: Any) -> Any:
    """What ``make`` gives, or None with its error as a finding."""
    try:
        return make()
    except Vega3DError as error:
        findings.add(kind, where, error)
    except (OSError, ValueError) as error:  # transformers' own, about a folder that it cannot use
        findings.add(kind, where, _unusable(error))
    return None


# ---------------------------------------------------------------- rows


def _rows(
    name: str,
    entries: Sequence[DataFile],
    config: TrainConfig,
    seed: int,
    findings: Findings,
    report: Report,
) -> Sequence[Row]:
    """The distinct rows of an epoch; those that cannot be understood are findings."""
    if entries and entries[0].streaming:
        report.files[f"{name}: streams"] = 0
        return _tried(findings, "annotation", name, lambda: _head(entries, config, seed)) or []
    defaults = [{**config.sampling, **one.sampling} for one in entries]
    parts = [
        _part(f"{name}.{at}", one, own, findings)
        for at, (one, own) in enumerate(zip(entries, defaults, strict=True))
    ]
    counts = [len(part) for part in parts]
    places = []
    for at, (one, often) in enumerate(
        zip(entries, how_often(entries, counts, config.epoch_rows if name == "data" else None), strict=True)
    ):
        chosen = weighted(range(counts[at]), often, f"{seed} {one.source}")
        report.files[f"{name}.{at} {one.source}"] = len(chosen)
        places += [(at, row) for row in dict.fromkeys(chosen)]
    return Joined(parts, places, defaults)


def _part(where: str, one: DataFile, defaults: dict[str, Any], findings: Findings) -> Sequence[Row]:
    try:
        if one.file is None:
            base = Path(one.root) if one.root is not None else None
            table = TableRows(str(one.dataset), one.name, one.split, base, defaults, spar_of(one))
            rows: Any = (table.tried(at) for at in range(len(table)))
        else:
            rows = tried_rows(one.file, one.root, defaults, spar_of(one), **one.trust)
        kept = []
        for row in rows:
            if isinstance(row, Row):
                kept.append(row)
            else:
                findings.add("annotation", row.what.split(" cannot be used")[0], row)
        if not kept:
            findings.add("annotation", where, _no_rows(one.source))
        return Packed(kept) if one.file is not None else kept
    except Vega3DError as error:
        findings.add("annotation", where, error)
        return []


def _head(entries: Sequence[DataFile], config: TrainConfig, seed: int) -> list[Row]:
    stream = iter(load_stream(entries, config.sampling, seed))
    return [sampled(row, config.sampling) for row, _ in zip(stream, range(STREAMED), strict=False)]


# ---------------------------------------------------------------- parts


def _collator(
    config: TrainConfig, own: Vega3DConfig | None, store: FeatureStore | None, findings: Findings
) -> Collator | None:
    if own is None:
        return None

    def load() -> Vega3DProcessor:
        return Vega3DProcessor.from_pretrained(str(own.host.path), own, store=store)

    processor = _tried(findings, "model", "model.host", load)
    if processor is None:
        return None
    return Collator(processor, max_length=config.max_length, overlong=config.overlong)


def _store(
    config: TrainConfig, own: Vega3DConfig | None, options: Options, findings: Findings
) -> FeatureStore | None:
    """The store, if it can be used by this generator."""
    if config.store.path is None:
        return None
    path = config.store.path

    def opened() -> FeatureStore:
        store = FeatureStore(path)
        if own is not None:
            store.require_settings(backbone_record(own.backbone))
            if options.weights:
                backbone: Any = load_backbone(own)
                store.require_fingerprint(backbone.fingerprint(), backbone_record(backbone.spec.config))
        return store

    found: FeatureStore | None = _tried(findings, "store", "store.path", opened)
    return found


def _unusable(error: Exception) -> HostError:
    return HostError(
        "A part of the model cannot be used.",
        got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
        expected="folders or hub ids of a Qwen-VL and a generator",
        fix="check model.host and model.backbone.path; offline, download first and pass the folder",
    )


def _no_rows(source: str) -> InputError:
    return InputError(
        f"No row of {source} can be used.", got="0 rows", expected="at least one", fix="check the file"
    )
