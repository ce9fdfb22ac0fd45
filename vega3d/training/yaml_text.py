"""Settings from a YAML file, and overrides ``key.sub=value`` with the value in YAML.

This module knows no settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vega3d.errors import ConfigError
from vega3d.training.plain_yaml import DEPTH, LONGEST, parsed
from vega3d.training.secrets import MASK, is_secret, masked

SHOWN = 200  # characters of a value that an error repeats


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is no YAML, uses a tag, or holds no mapping.
    """
    try:
        with Path(path).open("rb") as file:
            content = parsed(file.read(LONGEST + 1).decode())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot read the config {str(path)!r}.",
            got=_reason(error),
            expected="a YAML file of plain values without tags, each key once",
            fix="check the path and the indentation; configs/train/ has files to start from",
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"The config {str(path)!r} holds no settings.",
            got=type(content).__name__,
            expected="keys with values: model, recipe, data, trainer, ...",
            fix="start from a file in configs/train/",
        )
    return content


def overridden(record: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested settings with ``key.sub=value`` applied; a number counts into a list.

    Raises:
        ConfigError: an override sets nothing, or its place does not exist.
    """
    changed: dict[str, Any] = _copied(record)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys, shown = name.split("."), _shown(name, text)
        if not equals or not all(keys):
            raise ConfigError(
                f"The override {shown!r} sets nothing.",
                got=shown,
                expected="key.sub=value, for example trainer.learning_rate=1e-5",
                fix="write key and value with = between them, without blanks",
            )
        if len(keys) > DEPTH:
            raise _no_place(shown, f"{len(keys):,} levels")
        try:
            value = parsed(text)
        except ValueError as error:
            raise ConfigError(
                f"Invalid value in the override {shown!r}.",
                got=str(error),
                expected="a plain YAML value: a number, text, true, null, [a, b], {a: b}",
                fix="quote text with special characters: key='\"a: b\"'",
            ) from None
        _set(changed, keys, value, shown)
    return changed


def _shown(name: str, text: str) -> str:
    """An override for a message: short, and without a secret."""
    value = MASK if any(is_secret(key) for key in name.split(".")) else text
    return f"{name}={value}"[:SHOWN] if text else name[:SHOWN]


def _reason(error: Exception) -> str:
    """Why a file cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are no UTF-8, at {error.start:,}"
    return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error)


def _set(record: Any, keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if isinstance(record, list):
            record = record[_place(record, key, override)]
        elif isinstance(record, dict):
            if record.get(key) is None:  # a section that the file leaves out
                record[key] = {}
            record = record[key]
    if isinstance(record, list):
        record[_place(record, keys[-1], override)] = value
    elif isinstance(record, dict):
        record[keys[-1]] = value
    else:
        value = MASK if any(is_secret(key) for key in keys) else repr(masked(record))[:SHOWN]
        raise _no_place(override, f"what stands before {keys[-1][:SHOWN]!r} is the value {value}")


def _place(record: list[Any], key: str, override: str) -> int:
    place = int(key) if key.isdecimal() and len(key) < 10 else len(record)
    if place >= len(record):
        raise _no_place(override, f"{key[:SHOWN]!r} in a list of {len(record)}")
    return place


def _no_place(override: str, got: str) -> ConfigError:
    return ConfigError(
        f"The override {override!r} has no place.",
        got=got,
        expected="the dotted name of a setting; entries of a list by number, from 0",
        fix="compare with the file, for example data.0.root=media/",
    )


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
