"""One run for each folder: its settings and data are recorded, and compared before it is resumed.

``train_config.json`` is the config of a run, without secrets. ``train_run.json`` holds what the config only
names: a checksum of every annotation file, and the rows of a batch over all processes. A folder that holds a
run is resumed by the same run only, and by one process (of one run) at a time.

Folders of version 0.1 have no ``train_run.json``; there the config alone is compared.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainingArguments

from vega3d._utils import files
from vega3d._utils.locks import locked
from vega3d.errors import ConfigError, Vega3DError
from vega3d.settings import masked
from vega3d.training.checkpoints import checkpoint_to_resume, checkpoints
from vega3d.training.config import TrainConfig
from vega3d.training.identity import ROWS, differing, identity, record_of_data, rows_of_a_batch

CONFIG_COPY, RUN_COPY = "train_config.json", "train_run.json"
FINAL = "final"
SHOWN = 400  # characters of what differs that an error repeats


@contextlib.contextmanager
def started(config: TrainConfig, arguments: TrainingArguments) -> Iterator[Path | None]:
    """Hold a run's folder while the block runs; yields the checkpoint to resume, if there is one.

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
            require_same_run(folder, config, rows_of_a_batch(arguments))
            return checkpoint_to_resume(folder)

        yield _by_the_first(start, arguments)


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

    Raises:
        ConfigError: names what differs, or the record cannot be read.
    """
    if not config.resume and checkpoints(folder):
        raise ConfigError(
            f"Invalid trainer.output_dir: {folder} holds checkpoints of an earlier run.",
            got=f"resume=false and {checkpoints(folder)[-1]}",
            expected="an empty folder, or resume=true",
            fix="choose another trainer.output_dir, or delete the old one",
        )
    if not checkpoints(folder) and not (folder / FINAL).exists():
        return  # nothing was trained, so nothing can be mixed up
    if not (folder / CONFIG_COPY).exists():
        warnings.warn(
            f"{folder} has no {CONFIG_COPY}: its run cannot be compared with this one.", stacklevel=2
        )
        return
    known = _known(folder)
    current = identity(config, {**record_of_data(config), ROWS: rows})
    if names := differing(known, current):
        raise ConfigError(
            f"Invalid trainer.output_dir: {folder} holds another run.",
            got=_shown(current, names),
            expected=_shown(known, names),
            fix="choose another trainer.output_dir; the same settings and data resume that run",
        )


class RunRecord(TrainerCallback):  # type: ignore[misc]  # untyped
    """Writes the settings of a run when its first step begins: a run that never began leaves the old ones.

    Args:
        config: of the run.
        folder: of the run.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        if args.should_save:
            self._write(RUN_COPY, {**record_of_data(self.config), ROWS: rows_of_a_batch(args)})
            self._write(CONFIG_COPY, masked(self.config.to_dict(), None))

    def _write(self, name: str, record: dict[str, Any]) -> None:
        text = json.dumps(record, indent=2, sort_keys=True, default=str) + "\n"
        files.write_whole(self.folder / name, lambda part: part.write_text(text, encoding="utf-8"))


def _known(folder: Path) -> dict[str, Any]:
    """The identity of the run that lies in a folder."""
    try:
        record = json.loads((folder / CONFIG_COPY).read_text(encoding="utf-8"))
        run = folder / RUN_COPY
        return identity(
            TrainConfig.from_dict(record),
            dict(json.loads(run.read_text(encoding="utf-8"))) if run.exists() else {},
        )
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"Cannot read {folder / CONFIG_COPY} or {RUN_COPY} beside it.",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="the settings of the run that the folder holds",
            fix="restore the file, or choose another trainer.output_dir",
        ) from error


def _shown(record: dict[str, Any], names: list[str]) -> str:
    return "; ".join(f"{name}: {record.get(name)!r}" for name in names)[:SHOWN]
