"""All settings of a training run as frozen dataclasses: read from YAML, checked before anything is loaded.

An unknown key is an error that names the nearest one: a misspelt ``learning_rate`` would cost a whole run.
The section ``trainer`` takes every field of transformers' ``TrainingArguments`` by its own name,
``model.backbone`` those of ``WanConfig``; neither is repeated here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vega3d.data import SparMarks
from vega3d.settings import SettingError, apply_overrides, from_mapping, read_yaml

Recipe = Literal["align", "lora", "full"]
Overlong = Literal["error", "truncate"]
Precision = Literal["auto", "float32", "bfloat16"]
BatchBy = Literal["random", "length"]


def _require(condition: bool, what: str, got: object, expected: str, place: str = "") -> None:
    if not condition:
        raise SettingError(what, got=got, expected=expected, place=place)


@dataclass(frozen=True)
class ModelSettings:
    """The model that is trained.

    Attributes:
        host: ``pico``, or folder or hub id of a Qwen-VL; None takes the one that ``checkpoint`` names.
        revision: hub revision of ``host``.
        checkpoint: a vega3d checkpoint to start from: its settings, projector and fusion.
        backbone: fields of ``WanConfig`` (or of a plug-in, with ``type``); ``path: pico`` is the shipped one.
        semantic_streams: settings of further frozen encoders, each with its ``type``.
        fusion: name of a fusion, or fields of ``FusionConfig``.
        marks: who sees what a message draws on pictures: ``host`` or ``both``.
        dtype: precision that the host is loaded in; ``auto`` is the one that it was saved in.
        attention: back end of the host's attention: ``sdpa``, ``flash_attention_2``, ``eager``.
    """

    host: str | None = None
    revision: str | None = None
    checkpoint: str | None = None
    backbone: dict[str, Any] = field(default_factory=dict)
    semantic_streams: tuple[dict[str, Any], ...] = ()
    fusion: str | dict[str, Any] | None = None
    marks: str | None = None
    dtype: Precision = "auto"
    attention: str = "sdpa"

    def __post_init__(self) -> None:
        both = "host and checkpoint are null"
        _require(self.host is not None or self.checkpoint is not None, "Missing model.", both, "one of both")
        is_set_once, got = self.checkpoint is None or self.fusion is None, "checkpoint and fusion"
        _require(is_set_once, "Invalid fusion: set twice.", got, "the checkpoint's own fusion", "fusion")


@dataclass(frozen=True)
class LoraSettings:
    """LoRA on the host's language model; its vision tower stays frozen.

    Attributes:
        rank: of the two factors.
        alpha: the update is scaled by alpha / rank.
        dropout: before the first factor.
        targets: regular expression of module names, or a list of suffixes; None takes all seven linear
            layers of every block of the language model.
        quantize: ``4bit`` holds the frozen language model in 4 bits (QLoRA: NF4, bitsandbytes, on a GPU).
    """

    rank: int = 64
    alpha: int = 64
    dropout: float = 0.05
    targets: str | tuple[str, ...] | None = None
    quantize: Literal["4bit"] | None = None

    def __post_init__(self) -> None:
        is_valid = self.rank >= 1 and self.alpha >= 1 and 0 <= self.dropout < 1
        _require(is_valid, "Invalid LoRA settings.", self, "rank, alpha >= 1, dropout in [0, 1)")


@dataclass(frozen=True)
class DataFile:
    """One annotation file.

    Attributes:
        file: JSON or JSON lines, as ``vega3d.data.read_rows`` reads it.
        dataset: instead of a file, what ``datasets.load_dataset`` takes: a hub id, or a folder.
        name: configuration of ``dataset``.
        split: of ``dataset``.
        streaming: read ``dataset`` as it comes and keep none of it; then every entry has to.
        root: folder that its media's paths start from; None is the file's own.
        weight: how often an epoch sees each row; 0.25 or ``25%`` is a quarter of the rows, drawn with
            ``data_seed``.
        share: how much of an epoch comes from here, as 0.3 or ``30%``; all entries have one, or none.
        sampling: of media that do not state it, over the run's own ``sampling``.
        group_by: key of a row whose value names its group; a batch holds whole groups, such as twins.
        spar: how marks in a field ``spar_info`` are understood; None refuses rows that have some.
        allow_urls: rows may name ``http(s)://`` addresses, which are fetched in every epoch.
        allow_outside: rows may name paths outside ``root``.
    """

    file: str | None = None
    dataset: str | None = None
    name: str | None = None
    split: str = "train"
    streaming: bool = False
    root: str | None = None
    weight: float | str = 1.0
    share: float | str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    group_by: str | None = None
    spar: SparMarks | None = None
    allow_urls: bool = False
    allow_outside: bool = False

    def __post_init__(self) -> None:
        is_one = (self.file is None) != (self.dataset is None)
        got = f"file={self.file}, dataset={self.dataset}"
        _require(is_one, "Invalid source.", got, "either file or dataset")
        for name in ("weight", "share"):
            if getattr(self, name) is not None:
                fraction(getattr(self, name), name)
        is_whole = self.group_by is None or (self.times == 1 and self.share is None and not self.streaming)
        got = f"weight={self.weight}, share={self.share}, streaming={self.streaming}"
        expected = "weight 1, no share and no stream, so that no group is torn apart"
        _require(is_whole, "Invalid group_by.", got, expected, "group_by")

    @property
    def source(self) -> str:
        """Its name in messages."""
        return str(self.file if self.file is not None else self.dataset)

    @property
    def times(self) -> float:
        """``weight`` as a number."""
        return fraction(self.weight)

    @property
    def part(self) -> float | None:
        """``share`` as a number."""
        return None if self.share is None else fraction(self.share, "share")


@dataclass(frozen=True)
class StoreSettings:
    """Source of the generator's features.

    Attributes:
        path: folder of stored features; None computes all of them in every step.
        only: the generator is not loaded at all; a feature that is not stored is an error.
    """

    path: str | None = None
    only: bool = False

    def __post_init__(self) -> None:
        got, expected = "only without path", "both, or neither"
        _require(not self.only or self.path is not None, "Missing features.", got, expected, "only")


@dataclass(frozen=True)
class AnswerSettings:
    """Sample answers while a run trains, to read beside the loss.

    Attributes:
        every: steps between two samples; None writes none.
        rows: number of rows that are asked: the first ones of ``eval_data``, or of ``data`` without it.
        max_new_tokens: most tokens of an answer.
    """

    every: int | None = None
    rows: int = 3
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        is_valid = (self.every is None or self.every >= 1) and self.rows >= 1 and self.max_new_tokens >= 1
        _require(is_valid, "Invalid sample_answers.", self, "every, rows, max_new_tokens >= 1")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        model: settings of the model to train.
        recipe: ``align`` trains projector and fusion, ``lora`` these and LoRA on the language model, ``full``
            these and the whole language model. Vision tower and generator are always frozen.
        data: annotation files.
        eval_data: annotation files for evaluation, at the times of ``trainer.eval_strategy``.
        epoch_rows: rows of an epoch that ``share`` divides up; None is as many as all files hold.
        batch_by: ``random``, or ``length`` for batches of about equally long rows.
        lora: settings of the recipe ``lora``.
        store: source of stored features.
        new_modules_lr: learning rate of projector and fusion; None is ``trainer.learning_rate``.
        sampling: of media that do not state it: ``nframes``, ``fps``, ``max_frames``, ``max_pixels``, ...
        max_length: most tokens of a conversation, media included.
        overlong: treatment of a longer one: ``error``, or ``truncate`` the end of its text.
        sample_answers: settings of answers that are written while the run trains.
        license: of the trained weights, for the model card: an id of the hub, such as ``apache-2.0``.
        resume: continue from the last whole checkpoint in ``trainer.output_dir`` if there is one.
        trainer: fields of ``TrainingArguments``.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    recipe: Recipe = "lora"
    data: tuple[DataFile, ...] = ()
    eval_data: tuple[DataFile, ...] = ()
    epoch_rows: int | None = None
    batch_by: BatchBy = "random"
    lora: LoraSettings = field(default_factory=LoraSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    new_modules_lr: float | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    overlong: Overlong = "error"
    sample_answers: AnswerSettings = field(default_factory=AnswerSettings)
    license: str = "other"
    resume: bool = True
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(bool(self.data), "Missing rows to train on.", "data is empty", "data: [{file: train.json}]")
        is_frozen = self.lora.quantize is None or self.recipe == "lora"
        what = "Invalid recipe: weights in 4 bits cannot be trained."
        got = f"lora.quantize={self.lora.quantize} with recipe {self.recipe}"
        _require(is_frozen, what, got, "recipe: lora, which leaves them frozen", "lora.quantize")
        is_one, got = (
            not self.is_grouped or self.batch_by == "random",
            f"group_by and batch_by={self.batch_by}",
        )
        _require(is_one, "Invalid batch_by: groups decide the batches.", got, "batch_by: random", "batch_by")
        _check_mixture(self.data, "data", self.epoch_rows)
        _check_mixture(self.eval_data, "eval_data", None)

    @property
    def is_grouped(self) -> bool:
        """True if batches of training hold whole groups of rows."""
        return any(entry.group_by is not None for entry in self.data)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainConfig:
        """Settings from nested plain values.

        Raises:
            ConfigError: a key is unknown, a value is of the wrong kind, or two settings contradict.
        """
        return from_mapping(cls, record)

    def to_dict(self) -> dict[str, Any]:
        """Inverse of ``from_dict``: plain values."""
        return dataclasses.asdict(self)


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> TrainConfig:
    """Settings from a YAML file, changed by ``key.sub=value``.

    Paths in it start from the folder in which the command runs.

    Raises:
        ConfigError: the file cannot be read, or see ``TrainConfig.from_dict``.
    """
    return TrainConfig.from_dict(apply_overrides(read_yaml(path), overrides))


def fraction(value: float | str, name: str = "weight") -> float:
    """A number, or one as ``25%``.

    Args:
        value: of a setting.
        name: of the setting.

    Raises:
        ConfigError: it is neither, or not positive.
    """
    try:
        number = float(value) if not isinstance(value, str) else float(value.removesuffix("%")) / 100
    except ValueError:
        number = 0.0
    is_valid = 0 < number < float("inf") and (not isinstance(value, str) or value.endswith("%"))
    _require(is_valid, f"Invalid {name}.", repr(value), "a number above 0, or a percentage as 25%", name)
    return number


def _check_mixture(entries: tuple[DataFile, ...], section: str, rows: int | None) -> None:
    shares = [entry.part for entry in entries if entry.part is not None]
    is_whole = not shares or (len(shares) == len(entries) and abs(sum(shares) - 1) <= 1e-3)
    got, expected = f"{len(entries)} entries, shares {shares}", "shares for all that add up to 100 %, or none"
    _require(is_whole, f"Invalid shares of {section}.", got, expected, section)
    is_divided, got = rows is None or (rows >= 1 and bool(shares)), f"{rows} rows, shares {shares}"
    _require(is_divided, "Invalid epoch_rows.", got, "shares to divide", "epoch_rows")
    streamed, expected = [entry.streaming for entry in entries], "all streaming, or none"
    _require(len(set(streamed)) <= 1, f"Invalid mixture of {section}.", streamed, expected, section)
