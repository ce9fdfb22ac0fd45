"""The section ``trainer`` as transformers' ``TrainingArguments``, with every fault in it named."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from vega3d._utils.durations import in_time
from vega3d._utils.packages import imported
from vega3d._utils.progress import note
from vega3d.errors import ConfigError, DependencyError, nearest
from vega3d.training.config import TrainConfig

OURS: dict[str, tuple[Any, str]] = {
    "remove_unused_columns": (False, "False: rows are conversations"),
    "prediction_loss_only": (True, "True: no logits are kept"),
    "resume_from_checkpoint": (None, "null: the last complete checkpoint in output_dir, see resume"),
}
"""Fields that cannot be changed: their value, and why."""
DEFAULTS: dict[str, Any] = {
    "output_dir": "out/train",
    "report_to": [],
    "ddp_find_unused_parameters": False,  # every parameter that is trained has a gradient in every step
    "save_total_limit": 2,
}
_PACKAGES = {"azure_ml": "azureml-core", "comet_ml": "comet-ml", "flyte": "flytekit"}


def training_arguments(config: TrainConfig) -> TrainingArguments:
    """``TrainingArguments`` from the section ``trainer``.

    Raises:
        ConfigError: no such field, or a value that transformers refuses.
        DependencyError: ``report_to`` names a package that is not installed.
    """
    for _, fault in faults(config.trainer):
        raise fault
    if config.trainer.get("deepspeed") is not None:
        report_locks()
        if config.trainer.get("use_cpu"):
            _start_on_cpu()
    try:
        return TrainingArguments(**{**DEFAULTS, **config.trainer, **_fixed()})
    except (TypeError, ValueError, ImportError) as error:
        title = "Invalid section trainer: rejected by TrainingArguments."
        got, expected = f"{type(error).__name__}: {error}", "values as TrainingArguments documents them"
        fix = "correct the section trainer, or the override trainer.NAME=VALUE"
        raise ConfigError(title, got=got, expected=expected, fix=fix) from error


def defaults() -> dict[str, Any]:
    """The value of each field of ``trainer`` that is left out."""
    plain = {
        entry.name: entry.default
        for entry in dataclasses.fields(TrainingArguments)
        if entry.init and entry.default is not dataclasses.MISSING
    }
    return {**plain, **DEFAULTS, **_fixed()}


def _fixed() -> dict[str, Any]:
    return {name: value for name, (value, _) in OURS.items()}


def faults(section: dict[str, Any]) -> Iterator[tuple[str, ConfigError | DependencyError]]:
    """Names in ``trainer`` that cannot be used, each with its error.

    A name is unknown or ours to set, or ``deepspeed`` or ``report_to`` need a package that is not installed.
    """
    known = {entry.name for entry in dataclasses.fields(TrainingArguments) if entry.init}
    for name, value in section.items():
        setting = f"trainer.{name}"
        if name in OURS and value != OURS[name][0]:
            title, expected, fix = f"Invalid {setting}: it cannot be changed.", OURS[name][1], "leave it out"
        elif name not in known:
            close = nearest(str(name), known)
            title, expected = f"Unknown key {setting!r}.", "a field of transformers.TrainingArguments"
            fix = f"did you mean 'trainer.{close}'?" if close else "remove it"
        else:
            continue
        yield name, ConfigError(title, got=setting, expected=expected, fix=fix)
    if section.get("deepspeed") is not None and importlib.util.find_spec("deepspeed") is None:
        title, fix = (
            "Missing package deepspeed: trainer.deepspeed needs it.",
            "pip install 'vega3d[deepspeed]'",
        )
        got = f"trainer.deepspeed={section['deepspeed']}"
        yield "deepspeed", DependencyError(title, got=got, expected="deepspeed, on Linux", fix=fix)
    given = section.get("report_to") or []
    for name in given if isinstance(given, list | tuple) else [given]:
        if fault := _reporter_fault(str(name)):
            yield "report_to", fault


def _reporter_fault(name: str) -> ConfigError | DependencyError | None:
    installed = {"all", "none", *get_available_reporting_integrations()}
    if importlib.util.find_spec("flytekit") is not None:
        installed.add("flyte")  # the only one that transformers does not list
    if name in installed:
        return None
    if name not in INTEGRATION_TO_CALLBACK:
        close = nearest(name, INTEGRATION_TO_CALLBACK)
        title = f"Unknown name in trainer.report_to: {name!r}."
        expected = f"none, all, or some of {', '.join(sorted(INTEGRATION_TO_CALLBACK))}"
        fix = f"did you mean {close!r}?" if close else "leave trainer.report_to out"
        return ConfigError(title, got=repr(name), expected=expected, fix=fix)
    title = f"Missing package {name}, which is not installed: trainer.report_to names it."
    expected = f"installed: {', '.join(sorted(installed - {'all', 'none'})) or 'none'}"
    fix = f"pip install {_PACKAGES.get(name, name)}, or leave trainer.report_to out"
    return DependencyError(title, got=f"trainer.report_to={name}", expected=expected, fix=fix)


def report_locks() -> None:
    """Name the locks of compilations of torch's extensions, such as DeepSpeed's Adam for offloaded states.

    torch writes a lock before it compiles and waits for ever, silently, where there is one. A process that is
    killed while it compiles leaves its lock behind.
    """
    from torch.utils.cpp_extension import get_default_build_root  # imports setuptools

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in sorted(root.glob("**/lock")):
        with contextlib.suppress(FileNotFoundError):  # that compilation has ended
            age = in_time(time.time() - lock.stat().st_mtime)
            note(
                f"Lock {lock}, made {age} ago: training with {lock.parent.name} waits until it is gone."
                " Delete it if no process compiles; a killed process leaves its lock behind."
            )


def _start_on_cpu() -> None:
    """Start DeepSpeed's processes over gloo, where two of its assumptions do not hold; for tests and trials.

    With ``use_cpu`` transformers starts torch's processes itself, and DeepSpeed then counts a world of one.
    So DeepSpeed has to start them first; a process that no launcher started is a world of its own. It also
    compiles an operator for shared memory at its first use, which takes most of a minute and a compiler; gloo
    does the same work without.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    deepspeed = imported("deepspeed", "trainer.deepspeed needs", "deepspeed")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not deepspeed.comm.is_initialized():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        world = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        for name, value in {**world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            os.environ.setdefault(name, value)
        deepspeed.init_distributed(dist_backend="gloo")
