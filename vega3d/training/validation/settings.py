"""Checks of settings alone: the file, ``trainer`` and DeepSpeed's own file; and of the room for a run.

A file without a name is written to try a folder, and is gone at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vega3d.errors import BackboneError, ConfigError
from vega3d.settings import apply_overrides, read, read_yaml
from vega3d.training.arguments import faults, training_arguments
from vega3d.training.config import TrainConfig
from vega3d.training.same_run import require_same_run
from vega3d.training.validation.plan import GIB, Plan
from vega3d.training.validation.report import Report

ON_GPU = {"bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval"}


def read_config(path: str | os.PathLike[str], overrides: Iterable[str], report: Report) -> TrainConfig | None:
    """Settings without what is wrong in them; None if nothing can be checked further."""
    record = report.attempt("setting", str(path), read_yaml, path)
    if record is None:
        return None
    for override in overrides:
        record = report.attempt("setting", override, apply_overrides, record, [override]) or record
    config, wrong = read(TrainConfig, record)
    for fault in wrong:
        report.add("setting", getattr(fault, "place", "") or "config", fault)
    return config


def arguments_of(config: TrainConfig, report: Report) -> Any:
    """``TrainingArguments`` as far as they can be made on this machine; None if they cannot.

    DeepSpeed is checked by itself, and precision needs the GPU that this machine may not have.
    """
    skipped = {"deepspeed"} if torch.cuda.is_available() else {"deepspeed", *ON_GPU}
    for name, error in faults(config.trainer):
        report.add("setting", f"trainer.{name}", error)
        skipped.add(name)
    left = {name: value for name, value in config.trainer.items() if name not in skipped}
    return report.attempt("setting", "trainer", training_arguments, dataclasses.replace(config, trainer=left))


def zero_stage(config: TrainConfig, report: Report) -> int:
    """The ZeRO stage that DeepSpeed's own file asks for; 0 without one."""
    given, where = config.trainer.get("deepspeed"), "trainer.deepspeed"
    if given is None:
        return 0
    try:
        record = given if isinstance(given, dict) else json.loads(Path(given).read_text(encoding="utf-8"))
        stage = int(record.get("zero_optimization", {}).get("stage", 0))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        got = f"{given}: {type(error).__name__}: {error}"
        expected = "a JSON file with zero_optimization.stage from 0 to 3"
        fix = "configs/deepspeed/ has files to start from; paths start from the folder of the command"
        unreadable = ConfigError("Cannot read DeepSpeed's settings.", got=got, expected=expected, fix=fix)
        report.add("setting", where, unreadable)
        return 0
    if "gradient_clipping" not in record and config.trainer.get("max_grad_norm", 1.0):
        title = "Missing gradient_clipping: no gradient would be clipped."
        got = "DeepSpeed's settings without gradient_clipping"
        expected = '"gradient_clipping": "auto", which takes trainer.max_grad_norm'
        fix = "add it, or set trainer.max_grad_norm=0 if that is what you want"
        report.add("setting", where, ConfigError(title, got=got, expected=expected, fix=fix))
    if stage == 3 and config.model.semantic_streams:
        title = "Invalid ZeRO stage: 3 would split up the semantic streams with the model."
        got, expected = "stage 3 and model.semantic_streams", "stage 2 or less with further streams"
        fix = "trainer.deepspeed=configs/deepspeed/zero2.json"
        report.add("setting", where, ConfigError(title, got=got, expected=expected, fix=fix))
    return stage


def check_evaluation(config: TrainConfig, arguments: Any) -> None:
    """Rows to evaluate and a time to do it need each other."""
    files = len(config.eval_data)
    strategy = str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))
    if bool(files) != (strategy != "no"):
        title = "Missing trainer.eval_strategy." if files else "Missing eval_data."
        got = f"{files} files in eval_data, trainer.eval_strategy={strategy}"
        fix = "trainer.eval_strategy=steps trainer.eval_steps=500, and eval_data: [{file: ...}]"
        raise ConfigError(title, got=got, expected="both, or neither", fix=fix)


def check_output(folder: Path, config: TrainConfig) -> None:
    """Check that the run's folder can be written, and holds no other run."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        got, expected = f"{type(error).__name__}: {error.strerror}", "a folder that can be made and written"
        fix = "choose another trainer.output_dir"
        title = f"Cannot write the run to {folder}."
        raise ConfigError(title, got=got, expected=expected, fix=fix) from error
    require_same_run(folder, config, None)


def check_disk(folder: Path, plan: Plan, kept: int | None) -> None:
    """Check that the disk is large enough for the checkpoints that are kept, and for those being written."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    needed, free = plan.checkpoint * ((kept or 1) + 2), shutil.disk_usage(there).free
    if needed > free:
        got = f"{free / GIB:.1f} GiB free"
        expected = f"{needed / GIB:.1f} GiB for {needed // GIB} GiB of checkpoints at once"
        fix = "choose another trainer.output_dir, or a smaller trainer.save_total_limit"
        raise ConfigError("Missing disk space for the checkpoints.", got=got, expected=expected, fix=fix)


def check_memory(plan: Plan, gpu_memory: int | None) -> None:
    """Check that the GPUs are large enough."""
    if gpu_memory is not None and plan.peak > gpu_memory:
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in plan.memory.items())
        got, expected = f"{plan.peak / GIB:.1f} GiB on each: {parts}", f"at most {gpu_memory / GIB:.1f} GiB"
        fix = "a higher ZeRO stage, offload, gradient_checkpointing, less max_length, or stored features"
        raise BackboneError("Missing GPU memory for the run.", got=got, expected=expected, fix=fix)
