"""All settings of a training run as frozen dataclasses: read from YAML, checked before anything is loaded.

A key that nobody reads is an error that names the nearest one: a misspelt ``learning_rate`` would otherwise
cost a run. The section ``trainer`` takes every field of transformers' ``TrainingArguments`` by its own name,
``model.backbone`` those of ``WanConfig``; neither is repeated here.

This module knows neither torch nor transformers, and not what a setting does.
"""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vega3d.errors import ConfigError, nearest, unknown_choice
from vega3d.training.yaml_text import overridden, read_yaml

Settings = TypeVar("Settings")
Recipe = Literal["align", "lora", "full"]
Overlong = Literal["error", "truncate"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class ModelSettings:
    """What is trained.

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


@dataclass(frozen=True)
class LoraSettings:
    """LoRA on the host's language model; its vision tower stays frozen.

    Attributes:
        rank: of the two factors.
        alpha: the update is scaled by alpha / rank.
        dropout: before the first factor.
        targets: regular expression of module names, or a list of suffixes; None takes all seven linear
            layers of every block of the language model.
    """

    rank: int = 64
    alpha: int = 64
    dropout: float = 0.05
    targets: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class DataFile:
    """One annotation file.

    Attributes:
        file: JSON or JSON lines, as ``vega3d.data.read_rows`` reads it.
        root: folder that its media's paths start from; None is the file's own.
        weight: how often an epoch sees each row; 0.25 is a quarter of the rows, drawn with ``data_seed``.
        sampling: of media that do not state it, over the run's own ``sampling``.
    """

    file: str
    root: str | None = None
    weight: float = 1.0
    sampling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreSettings:
    """Where the generator's features come from.

    Attributes:
        path: folder of stored features; None computes all of them in every step.
        only: the generator is not loaded at all; a feature that is not stored is an error.
    """

    path: str | None = None
    only: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        model: what is trained.
        recipe: ``align`` trains projector and fusion, ``lora`` these and LoRA on the language model, ``full``
            these and the whole language model. Vision tower and generator are always frozen.
        data: annotation files.
        lora: settings of the recipe ``lora``.
        store: where features come from.
        new_modules_lr: learning rate of projector and fusion; None is ``trainer.learning_rate``.
        sampling: of media that do not state it: ``nframes``, ``fps``, ``max_frames``, ``max_pixels``, ...
        max_length: most tokens of a conversation, media included.
        overlong: what happens to a longer one: ``error``, or ``truncate`` the end of its text.
        resume: continue from the last whole checkpoint in ``trainer.output_dir`` if there is one.
        trainer: fields of ``TrainingArguments``.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    recipe: Recipe = "lora"
    data: tuple[DataFile, ...] = ()
    lora: LoraSettings = field(default_factory=LoraSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    new_modules_lr: float | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    overlong: Overlong = "error"
    resume: bool = True
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model.host is None and self.model.checkpoint is None:
            raise _contradiction(
                "No model is named.", "neither model.host nor model.checkpoint", "one of both"
            )
        if self.model.checkpoint is not None and self.model.fusion is not None:
            raise _contradiction(
                "The fusion is set twice.", "model.checkpoint and model.fusion", "the checkpoint's own fusion"
            )
        if not self.data:
            raise _contradiction(
                "There is nothing to train on.", "data is empty", "data: [{file: train.json}]"
            )
        if any(not one.weight > 0 for one in self.data):
            raise _contradiction(
                "A weight is not positive.", [one.weight for one in self.data], "more than 0 for each file"
            )
        if self.store.only and self.store.path is None:
            raise _contradiction(
                "There are no features.", "store.only without store.path", "both, or neither"
            )
        if self.lora.rank < 1 or self.lora.alpha < 1 or not 0 <= self.lora.dropout < 1:
            raise _contradiction(
                "LoRA's settings make no sense.", self.lora, "rank, alpha >= 1, dropout in [0, 1)"
            )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainConfig:
        """Settings from nested plain values.

        Raises:
            ConfigError: a key is unknown, a value is of the wrong kind, or two settings contradict.
        """
        made: TrainConfig = _built(cls, record, "")
        return made

    def to_dict(self) -> dict[str, Any]:
        """Inverse of ``from_dict``: plain values."""
        return dataclasses.asdict(self)


def settings_from(kind: type[Settings], record: Mapping[str, Any]) -> Settings:
    """Any frozen dataclass of settings from nested plain values, checked as a ``TrainConfig`` is.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong kind.
    """
    made: Settings = _built(kind, record, "")
    return made


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> TrainConfig:
    """Settings from a YAML file, changed by ``key.sub=value``.

    Paths in it start from the folder in which the command runs.

    Raises:
        ConfigError: the file cannot be read, or see ``TrainConfig.from_dict``.
    """
    return TrainConfig.from_dict(overridden(read_yaml(path), overrides))


def _built(cls: Any, record: Any, place: str) -> Any:
    if not isinstance(record, Mapping):
        raise _wrong_kind(place.rstrip("."), record, "keys with values")
    hints = get_type_hints(cls)
    for name in record:
        if name not in hints:
            raise _unknown_key(f"{place}{name}", str(name), hints, place)
    values = {name: _checked(value, hints[name], f"{place}{name}") for name, value in record.items()}
    if missing := [f.name for f in dataclasses.fields(cls) if _is_required(f) and f.name not in values]:
        raise _wrong_kind(f"{place}{missing[0]}", None, "a value: it has no default")
    return cls(**values)


def _is_required(entry: Any) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _checked(value: Any, hint: Any, place: str) -> Any:
    """A value of the kind that a hint asks for; an integer will do for a float."""
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _built(hint, value, f"{place}.")
    if origin is Literal:
        if value not in inner:
            raise unknown_choice(place, value, inner)
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, place)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_checked(one, inner[0], f"{place}.{at}") for at, one in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong_kind(place, value, _kind_name(hint))
    return value


def _one_of(value: Any, hints: tuple[Any, ...], place: str) -> Any:
    for hint in hints:
        try:
            return _checked(value, hint, place)
        except ConfigError:
            continue
    raise _wrong_kind(place, value, " or ".join(_kind_name(hint) for hint in hints))


def _kind_name(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    if hint in names:
        return names[hint]
    return "a list" if get_origin(hint) is tuple else "keys with values"


def _unknown_key(name: str, key: str, accepted: Iterable[str], place: str = "") -> ConfigError:
    close = nearest(key, accepted)
    return ConfigError(
        f"Unknown key {name!r}.",
        got=name,
        expected="one of " + ", ".join(sorted(accepted)),
        fix=f"did you mean {place + close!r}?" if close else "remove it",
    )


def _wrong_kind(place: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{place} has a value of the wrong kind.",
        got=repr(value),
        expected=expected,
        fix="correct the file or the override",
    )


def _contradiction(what: str, got: object, expected: str) -> ConfigError:
    return ConfigError(what, got=got, expected=expected, fix="correct the file or the override")
