"""One run for each folder: its settings and data are recorded, and compared before it is resumed.

``train_config.json`` is the config of a run, without secrets. ``train_run.json`` holds what the config only
names: a checksum of every annotation file, and the rows of a batch over all processes. A folder that holds a
run is resumed by the same run only, and by one process (of one run) at a time.

``MAY_CHANGE`` lists what a resumed run may change: more steps, and what has no influence on the weights
beyond rounding. Everything else is compared, including fields that a later transformers adds. A secret is
never part of it. Folders of version 0.1 have no ``train_run.json``; there the config alone is compared.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xxhash
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainingArguments

from vega3d._utils import files
from vega3d._utils.locks import locked
from vega3d.errors import ConfigError, Vega3DError
from vega3d.settings import is_secret, masked
from vega3d.training.arguments import defaults
from vega3d.training.checkpoints import checkpoint_to_resume, checkpoints
from vega3d.training.config import TrainConfig

CONFIG_COPY, RUN_COPY = "train_config.json", "train_run.json"
FINAL = "final"
SHOWN = 400  # characters of what differs that an error repeats
ROWS = "rows of a batch, over all processes"
CONTENTS = "contents of "
EACH = "trainer.per_device_train_batch_size"

MAY_CHANGE_SECTIONS = {"eval_data", "resume", "sample_answers", "license"}
_MAY_CHANGE = """
    output_dir max_steps num_train_epochs ignore_data_skip do_train do_eval do_predict resume_from_checkpoint
    restore_callback_states_from_checkpoint
    logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica
    log_on_each_node disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id include_num_input_tokens_seen skip_memory_metrics debug
    save_strategy save_steps save_total_limit save_only_model save_on_each_node enable_jit_checkpoint
    push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision
    eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size eval_accumulation_steps
    eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics bf16_full_eval
    fp16_full_eval
    use_cpu local_rank dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context ddp_backend ddp_timeout ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_find_unused_parameters gradient_checkpointing
    gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs
    torch_empty_cache_steps
"""
MAY_CHANGE = {*_MAY_CHANGE.split()}
"""Fields of ``trainer``: of folder and length, logging, saving, evaluation, speed and memory."""


@contextlib.contextmanager
def started(config: TrainConfig, arguments: TrainingArguments) -> Iterator[RunRecord]:
    """Hold a run's folder while the block runs.

    The first process locks and compares; its result, or its error, is that of all processes of the run.

    Raises:
        ConfigError: the folder is in use, or holds another run.
        CheckpointError: every finished checkpoint in it is damaged.
        WriteError: it cannot be written.
    """
    folder = Path(arguments.output_dir)
    with contextlib.ExitStack() as stack:

        def start() -> Path | None:
            stack.enter_context(locked(folder))
            require_same_run(folder, config, _rows_of_a_batch(arguments))
            return checkpoint_to_resume(folder)

        yield RunRecord(config, folder, _by_the_first(start, arguments))


def _by_the_first(work: Callable[[], Path | None], arguments: TrainingArguments) -> Path | None:
    """The first process's result in all processes; its error is raised in all of them."""
    if arguments.world_size == 1:
        return work()
    outcome: list[Any] = [None, None]
    if arguments.process_index == 0:
        try:
            outcome[0] = work()
        except Vega3DError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Path | None = outcome[0]
    return result


def require_same_run(folder: Path, config: TrainConfig, rows: int | None) -> None:
    """Refuse a folder that holds another run.

    Args:
        folder: of the run.
        config: of the run that would resume there.
        rows: of a batch over all processes; None compares those of one device instead.
    """
    if not config.resume and checkpoints(folder):
        title = f"Invalid trainer.output_dir: {folder} holds checkpoints of an earlier run."
        got, expected = f"resume=false and {checkpoints(folder)[-1]}", "an empty folder, or resume=true"
        fix = "choose another trainer.output_dir, or delete the old one"
        raise ConfigError(title, got=got, expected=expected, fix=fix)
    if not checkpoints(folder) and not (folder / FINAL).exists():
        return  # nothing was trained, so nothing can be mixed up
    if not (folder / CONFIG_COPY).exists():
        text = f"{folder} has no {CONFIG_COPY}: its run cannot be compared with this one."
        warnings.warn(text, stacklevel=2)
        return
    known = _known(folder)
    current = identity(config, {**_record_of_data(config), ROWS: rows})
    if names := differing(known, current):
        shown = ["; ".join(f"{name}: {run.get(name)!r}" for name in names) for run in (current, known)]
        title = f"Invalid trainer.output_dir: {folder} holds another run."
        fix = "choose another trainer.output_dir; the same settings and data resume that run"
        raise ConfigError(title, got=shown[0][:SHOWN], expected=shown[1][:SHOWN], fix=fix)


class RunRecord(TrainerCallback):  # type: ignore[misc]  # untyped
    """Writes the settings of a run when its first step begins: a run that never began leaves the old ones.

    Args:
        config: of the run.
        folder: of the run.
        checkpoint: to resume; None starts anew.
    """

    def __init__(self, config: TrainConfig, folder: Path, checkpoint: Path | None) -> None:
        self.config, self.folder, self.checkpoint = config, folder, checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        if args.should_save:
            data = {**_record_of_data(self.config), ROWS: _rows_of_a_batch(args)}
            for name, record in ((RUN_COPY, data), (CONFIG_COPY, masked(self.config.to_dict(), None))):
                text = json.dumps(record, indent=2, sort_keys=True, default=str) + "\n"
                files.write_whole(self.folder / name, lambda part, text=text: part.write_text(text, "utf-8"))  # type: ignore[misc]


def _known(folder: Path) -> dict[str, Any]:
    """The identity of the run that lies in a folder."""
    try:
        config = TrainConfig.from_dict(json.loads((folder / CONFIG_COPY).read_text(encoding="utf-8")))
        run = folder / RUN_COPY
        return identity(config, dict(json.loads(run.read_text(encoding="utf-8"))) if run.exists() else {})
    except (OSError, ValueError, TypeError) as error:
        title = f"Cannot read {folder / CONFIG_COPY} or {RUN_COPY} beside it."
        got = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        expected = "the settings of the run that the folder holds"
        fix = "restore the file, or choose another trainer.output_dir"
        raise ConfigError(title, got=got, expected=expected, fix=fix) from error


def _rows_of_a_batch(arguments: TrainingArguments) -> int:
    """Rows that all processes take together, before gradients are accumulated."""
    return int(arguments.train_batch_size * arguments.world_size)


# ---------------------------------------------------------------- what decides the weights


def identity(config: TrainConfig, run: dict[str, Any]) -> dict[str, Any]:
    """All that decides the weights of a run, by dotted names.

    Args:
        config: with the defaults of fields that are left out.
        run: content of ``train_run.json``.
    """
    record = {name: value for name, value in config.to_dict().items() if name not in MAY_CHANGE_SECTIONS}
    section = {**defaults(), **record["trainer"]}
    record["trainer"] = {name: value for name, value in section.items() if name not in MAY_CHANGE}
    settings = _flat(json.loads(json.dumps(record, default=str)), "").items()
    return {name: value for name, value in settings if not any(map(is_secret, name.split(".")))} | run


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Nested plain values by dotted names; an empty list or mapping counts as one that is left out."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: one for part, v in inner for key, one in _flat(v, f"{name}.{part}".lstrip(".")).items()}
    return {name: value}


def _record_of_data(config: TrainConfig) -> dict[str, str]:
    """A checksum of every file that decides a run and can be read, by ``contents of PATH``."""
    settings = [config.trainer.get(name) for name in ("deepspeed", "fsdp_config")]
    named = [entry.source for entry in config.data] + [name for name in settings if isinstance(name, str)]
    sums = {name: _checksum(Path(name)) for name in named}
    return {f"{CONTENTS}{name}": checksum for name, checksum in sums.items() if checksum is not None}


def _checksum(path: Path) -> str | None:
    """Of a file, or of the names and sizes in a folder, whose contents may be terabytes; None for others."""
    try:
        if path.is_file():
            return files.digest(path)
    except OSError:
        return None  # reading its rows raises the error
    if not path.is_dir():
        return None
    inside = [file for file in path.rglob("*") if file.is_file()]
    sizes = sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in inside)
    return xxhash.xxh3_64_hexdigest(json.dumps(sizes).encode())


def differing(known: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Names of what differs. A checksum or a number of rows that one side lacks is not compared."""
    partial = {name for name in (*known, *current) if name == ROWS or name.startswith(CONTENTS)}
    partial = {name for name in partial if known.get(name) is None or current.get(name) is None}
    skipped = partial | ({EACH} if ROWS not in partial else set())
    names = sorted({*known, *current} - skipped)
    return [name for name in names if not _equal(known.get(name), current.get(name))]


def _equal(known: Any, current: Any) -> bool:
    return bool(known == current) or json.dumps(known) == json.dumps(current)  # NaN is equal to itself here
