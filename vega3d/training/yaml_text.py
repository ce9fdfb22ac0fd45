"""YAML as people mean it: safe tags only, ``1e-4`` is a number, and a key that stands twice is an error.

PyYAML reads YAML 1.1, in which ``1e-4`` is a word and the second of two equal keys wins without a sound; a
learning rate was lost in each of these ways before. Overrides are ``key.sub=value``, the value in YAML.

This module knows no settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from vega3d.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
    """The safe loader with the two differences above."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; refuses a key that stands twice."""
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            place = node.start_mark
            raise yaml.YAMLError(f"{twice[0]!r} stands twice in the block at line {place.line + 1}")
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is no YAML, uses a tag, or holds no mapping.
    """
    try:
        content = _parsed(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The config {str(path)!r} cannot be read.",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            expected="a YAML file without tags, each key once",
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
        if not equals or not all(name.split(".")):
            raise ConfigError(
                f"{override!r} sets nothing.",
                got=override,
                expected="key.sub=value, for example trainer.learning_rate=1e-5",
                fix="write key and value with = between them, without blanks",
            )
        try:
            value = _parsed(text)
        except yaml.YAMLError as error:
            raise _no_place(override, f"{text!r} is no YAML") from error
        _set(changed, name.split("."), value, override)
    return changed


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
        raise _no_place(override, f"what stands before {keys[-1]!r} is the value {record!r}")


def _place(record: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(record):
        raise _no_place(override, f"{key!r} in a list of {len(record)}")
    return int(key)


def _no_place(override: str, got: str) -> ConfigError:
    return ConfigError(
        f"The override {override!r} has no place.",
        got=got,
        expected="the dotted name of a setting; entries of a list by number, from 0",
        fix="compare with the file, for example data.0.root=media/",
    )


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: no tag makes an object


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
