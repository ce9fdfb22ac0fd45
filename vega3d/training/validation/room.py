"""Room for a run: a folder that can be written, a disk and GPUs that are large enough.

A file without a name is written to try a folder, and is gone at once.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from vega3d.errors import BackboneError, ConfigError
from vega3d.training.config import TrainConfig
from vega3d.training.same_run import require_same_run
from vega3d.training.validation.findings import Findings
from vega3d.training.validation.plan import Plan


def check_output(folder: Path, config: TrainConfig, findings: Findings) -> None:
    """Check that the run's folder can be written, and holds no other run."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        findings.add("output", "trainer.output_dir", _unwritable(folder, error))
        return
    findings.attempt("output", "trainer.output_dir", lambda: require_same_run(folder, config, None))


def check_room(plan: Plan, arguments: Any, gpu_memory: int | None, findings: Findings) -> None:
    """Check that disk and GPUs are large enough."""
    folder = Path(arguments.output_dir).absolute()
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    needed = plan.checkpoint * ((arguments.save_total_limit or 1) + 2)
    free = shutil.disk_usage(there).free
    if needed > free:
        findings.add("output", "trainer.output_dir", _no_space(needed, free))
    if gpu_memory is not None and plan.peak > gpu_memory:
        findings.add("memory", "trainer", _too_large(plan, gpu_memory))


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"Cannot write the run to {folder}.",
        got=f"{type(error).__name__}: {error.strerror}",
        expected="a folder that can be made and written",
        fix="choose another trainer.output_dir",
    )


def _no_space(needed: int, free: int) -> ConfigError:
    return ConfigError(
        "Missing disk space for the checkpoints.",
        got=f"{free / 2**30:.1f} GiB free",
        expected=f"{needed / 2**30:.1f} GiB for {needed // 2**30} GiB of checkpoints at once",
        fix="choose another trainer.output_dir, or a smaller trainer.save_total_limit",
    )


def _too_large(plan: Plan, memory: int) -> BackboneError:
    parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in plan.memory.items())
    return BackboneError(
        "Missing GPU memory for the run.",
        got=f"{plan.peak / 2**30:.1f} GiB on each: {parts}",
        expected=f"at most {memory / 2**30:.1f} GiB",
        fix="a higher ZeRO stage, offload, gradient_checkpointing, a smaller max_length, or stored features",
    )
