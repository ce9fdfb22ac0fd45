"""Checks of settings alone: every fault of the file, of ``trainer`` and of DeepSpeed's own file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vega3d.errors import ConfigError, Vega3DError
from vega3d.settings import apply_overrides, read, read_yaml
from vega3d.training.arguments import require_reporters, training_arguments, unknown_arguments
from vega3d.training.config import TrainConfig
from vega3d.training.validation.findings import Findings

ON_GPU = ("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval")


def read_settings(
    path: str | os.PathLike[str], overrides: Iterable[str], findings: Findings
) -> TrainConfig | None:
    """Settings without what is wrong in them; None if nothing can be checked further."""
    try:
        record = read_yaml(path)
    except ConfigError as error:
        findings.add("setting", str(path), error)
        return None
    for override in overrides:
        try:
            record = apply_overrides(record, [override])
        except ConfigError as error:
            findings.add("setting", override, error)
    config, faults = read(TrainConfig, record)
    for fault in faults:
        findings.add("setting", getattr(fault, "place", "") or "config", fault)
    return config


def arguments_of(config: TrainConfig, findings: Findings) -> Any:
    """``TrainingArguments`` as far as they can be made on this machine; None if they cannot.

    DeepSpeed is checked by itself, and precision needs the GPU that this machine may not have.
    """
    wrong = unknown_arguments(config.trainer)
    for error in wrong:
        findings.add("setting", error.place, error)
    names = {error.place.removeprefix("trainer.") for error in wrong} | {"deepspeed"}
    try:
        require_reporters(config.trainer)
    except Vega3DError as problem:
        findings.add("setting", "trainer.report_to", problem)
        names.add("report_to")
    if not torch.cuda.is_available():
        names |= {*ON_GPU}
    left = {name: value for name, value in config.trainer.items() if name not in names}
    known = dataclasses.replace(config, trainer=left)
    return findings.attempt("setting", "trainer", lambda: training_arguments(known))


def zero_stage(config: TrainConfig, findings: Findings) -> int:
    """The ZeRO stage that DeepSpeed's own file asks for; 0 without one."""
    given = config.trainer.get("deepspeed")
    if given is None:
        return 0
    try:
        record = given if isinstance(given, dict) else json.loads(Path(given).read_text(encoding="utf-8"))
        stage = int(record.get("zero_optimization", {}).get("stage", 0))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        findings.add("setting", "trainer.deepspeed", _no_deepspeed(given, error))
        return 0
    if "gradient_clipping" not in record and config.trainer.get("max_grad_norm", 1.0):
        findings.add("setting", "trainer.deepspeed", _unclipped())
    if stage == 3 and config.model.semantic_streams:
        findings.add("setting", "trainer.deepspeed", _partitioned_streams())
    return stage


def check_evaluation(config: TrainConfig, arguments: Any, findings: Findings) -> None:
    """Rows to evaluate and a time to do it need each other."""
    strategy = str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))
    if bool(config.eval_data) != (strategy != "no"):
        findings.add("setting", "eval_data", _lone_evaluation(len(config.eval_data), strategy))


def _no_deepspeed(given: object, error: Exception) -> ConfigError:
    return ConfigError(
        "Cannot read DeepSpeed's settings.",
        got=f"{given}: {type(error).__name__}: {error}",
        expected="a JSON file with zero_optimization.stage from 0 to 3",
        fix="configs/deepspeed/ has files to start from; paths start from the folder of the command",
    )


def _unclipped() -> ConfigError:
    return ConfigError(
        "Missing gradient_clipping: no gradient would be clipped.",
        got="DeepSpeed's settings without gradient_clipping",
        expected='"gradient_clipping": "auto", which takes trainer.max_grad_norm',
        fix="add it, or set trainer.max_grad_norm=0 if that is what you want",
    )


def _partitioned_streams() -> ConfigError:
    return ConfigError(
        "Invalid ZeRO stage: 3 would split up the semantic streams with the model.",
        got="stage 3 and model.semantic_streams",
        expected="stage 2 or less with further streams",
        fix="trainer.deepspeed=configs/deepspeed/zero2.json",
    )


def _lone_evaluation(files: int, strategy: str) -> ConfigError:
    return ConfigError(
        "Missing trainer.eval_strategy." if files else "Missing eval_data.",
        got=f"{files} files in eval_data, trainer.eval_strategy={strategy}",
        expected="both, or neither",
        fix="trainer.eval_strategy=steps trainer.eval_steps=500, and eval_data: [{file: ...}]",
    )
