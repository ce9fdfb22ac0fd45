"""Settings and data that decide the weights of a run, by dotted names, so that two runs can be compared.

``MAY_CHANGE`` lists what a resumed run may change: more steps, and what has no influence on the weights
beyond rounding. Everything else is compared, including fields that a later transformers adds. A secret is
never part of it.

This module writes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash
from transformers import TrainingArguments

from vega3d._utils import files
from vega3d.settings import is_secret
from vega3d.training.arguments import defaults
from vega3d.training.config import DataFile, TrainConfig

ROWS = "rows of a batch, over all processes"
CONTENTS = "contents of "
EACH = "trainer.per_device_train_batch_size"

MAY_CHANGE_SECTIONS = {"eval_data", "resume"}
FOLDER_AND_LENGTH = """
    output_dir max_steps num_train_epochs ignore_data_skip do_train do_eval do_predict resume_from_checkpoint
    restore_callback_states_from_checkpoint
"""
LOGGING = """
    logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica
    log_on_each_node disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id include_num_input_tokens_seen skip_memory_metrics debug
"""
SAVING = """
    save_strategy save_steps save_total_limit save_only_model save_on_each_node enable_jit_checkpoint
    push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision
"""
EVALUATION = """
    eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size eval_accumulation_steps
    eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics bf16_full_eval
    fp16_full_eval
"""
SPEED_AND_MEMORY = """
    use_cpu local_rank dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context ddp_backend ddp_timeout ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_find_unused_parameters gradient_checkpointing
    gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs
    torch_empty_cache_steps
"""
MAY_CHANGE = {*f"{FOLDER_AND_LENGTH} {LOGGING} {SAVING} {EVALUATION} {SPEED_AND_MEMORY}".split()}
"""Fields of ``trainer``."""


def rows_of_a_batch(arguments: TrainingArguments) -> int:
    """Rows that all processes take together, before gradients are accumulated."""
    return int(arguments.train_batch_size * arguments.world_size)


def identity(config: TrainConfig, run: dict[str, Any]) -> dict[str, Any]:
    """All that decides the weights of a run, by dotted names.

    Args:
        config: with the defaults of fields that are left out.
        run: content of ``train_run.json``.
    """
    record = {name: value for name, value in config.to_dict().items() if name not in MAY_CHANGE_SECTIONS}
    section = {**defaults(), **record["trainer"]}
    record["trainer"] = {name: value for name, value in section.items() if name not in MAY_CHANGE}
    plain = json.loads(json.dumps(record, default=str))
    settings = _flat(plain, "").items()
    return {name: value for name, value in settings if not any(map(is_secret, name.split(".")))} | run


def record_of_data(config: TrainConfig) -> dict[str, str]:
    """A checksum of every file that decides a run and can be read, by ``contents of PATH``."""
    settings = [config.trainer.get(name) for name in ("deepspeed", "fsdp_config")]
    named = [entry.file for entry in config.data] + [name for name in settings if isinstance(name, str)]
    sums = {name: _checksum(Path(name)) for name in named if name is not None}
    sums |= {entry.source: _listing(entry) for entry in config.data if entry.dataset is not None}
    return {f"{CONTENTS}{name}": checksum for name, checksum in sums.items() if checksum is not None}


def differing(known: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Names of what differs. A checksum or a number of rows that one side lacks is not compared."""
    partial = {name for name in (*known, *current) if name == ROWS or name.startswith(CONTENTS)}
    partial = {name for name in partial if known.get(name) is None or current.get(name) is None}
    skipped = partial | ({EACH} if ROWS not in partial else set())
    return [
        name
        for name in sorted({*known, *current} - skipped)
        if not _equal(known.get(name), current.get(name))
    ]


def _equal(known: Any, current: Any) -> bool:
    return bool(known == current) or json.dumps(known) == json.dumps(current)  # NaN is equal to itself here


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Nested plain values by dotted names; an empty list or mapping counts as one that is left out."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: one for part, v in inner for key, one in _flat(v, f"{name}.{part}".lstrip(".")).items()}
    return {name: value}


def _checksum(file: Path) -> str | None:
    try:
        return files.digest(file) if file.is_file() else None
    except OSError:
        return None  # reading its rows raises the error


def _listing(entry: DataFile) -> str | None:
    """A checksum of the names and sizes of a data set's files on disk; its contents may be terabytes."""
    folder = Path(str(entry.dataset))
    if not folder.is_dir():
        return None
    found = [file for file in folder.rglob("*") if file.is_file()]
    sizes = sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in found)
    return xxhash.xxh3_64(json.dumps(sizes).encode()).hexdigest()
