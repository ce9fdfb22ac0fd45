"""One reader of settings: a YAML file, a mapping or ``key.sub=value`` to a checked frozen dataclass.

An unknown key names the nearest known one, and all faults of a record are listed at once. The value of a
setting that holds a secret is never repeated in a message.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vega3d.errors import ConfigError, nearest, unknown_choice

T = TypeVar("T")

CORRECT = "correct the file or the override"
SHOWN = 200  # characters of a value that an error repeats
MASK = "<hidden>"
_FAULTS = 100  # that are collected from one record
_WORDS = "token|password|passwd|secret|credentials?|api_?key|access_key|private_key"
_SECRET = re.compile(rf"(^|[_\-.])({_WORDS})$", re.IGNORECASE)
_KINDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}


class SettingError(ConfigError):
    """Invalid setting with its dotted name.

    Args:
        place: dotted name of the setting; without it the rest of the record can be checked. Empty if nothing
            can be left out.
    """

    def __init__(
        self, what: str, *, got: object, expected: object, fix: str | None = CORRECT, place: str = ""
    ) -> None:
        super().__init__(what, got=got, expected=expected, fix=fix)
        self.place = place

    def inside(self, place: str) -> SettingError:
        """The same error of a dataclass that is the value of ``place``, which ends with a dot."""
        what = self.what.rstrip(".") + f" in {place.rstrip('.')!r}." if place else self.what
        name = f"{place}{self.place}".rstrip(".")
        return SettingError(what, got=self.got, expected=self.expected, fix=self.fix, place=name)


# ---------------------------------------------------------------- a mapping


def from_mapping(cls: type[T], record: Any, prefix: str = "", ignored: list[str] | None = None) -> T:
    """Build a dataclass from nested plain values.

    Args:
        cls: the dataclass.
        record: its fields; inner dataclasses as mappings. An integer is accepted for a float.
        prefix: dotted name of the record, with a dot at its end; empty for the whole.
        ignored: if given, unknown keys are dropped and their dotted names appended here.

    Raises:
        ConfigError: a key is unknown or missing, a value is of the wrong kind, or settings contradict; lists
            all faults.
    """
    settings, faults = read(cls, record, prefix, ignored)
    if len(faults) == 1:
        raise faults[0]
    if settings is None or faults:
        listed = "\n".join(str(fault) for fault in faults)
        raise ConfigError(f"Invalid settings: {len(faults)} faults.\n{listed}")
    return settings


def read(
    cls: type[T], record: Any, prefix: str = "", ignored: list[str] | None = None
) -> tuple[T | None, list[ConfigError]]:
    """Build a dataclass without the settings that are wrong; None if nothing can be built.

    Args:
        cls: dataclass, as for ``from_mapping``.
        record: nested plain values; not changed.
        prefix: dotted name of the record.
        ignored: receives the names of unknown keys.

    Returns:
        The settings, and every fault.
    """
    record = _copied(record)
    faults: list[ConfigError] = []
    while len(faults) < _FAULTS:
        try:
            return _built(cls, record, prefix, ignored), faults
        except ConfigError as fault:
            faults.append(fault)
            name = getattr(fault, "place", "").removeprefix(prefix)
            if not name or not _left_out(record, name.split(".")):
                break
    return None, faults


def _built(cls: type[T], record: Any, prefix: str, ignored: list[str] | None) -> T:
    if not isinstance(record, Mapping):
        raise _wrong_kind(prefix.rstrip("."), record, "keys with values")
    if (upgraded := getattr(cls, "upgraded", None)) is not None:  # settings of an earlier version
        record = upgraded(record)
    fields = {entry.name: entry for entry in dataclasses.fields(cls) if entry.init}  # type: ignore[arg-type]
    try:
        hints: dict[str, Any] = get_type_hints(cls)
    except NameError:  # a class inside a function
        hints = dict.fromkeys(fields, Any)
    for name in record:
        if name not in fields and ignored is None:
            raise _unknown_key(f"{prefix}{name}", str(name), fields, prefix)
    if ignored is not None:
        ignored.extend(f"{prefix}{name}" for name in sorted(set(record) - set(fields)))
    values = {
        name: _checked(value, hints[name], f"{prefix}{name}", ignored)
        for name, value in record.items()
        if name in fields
    }
    for name, entry in fields.items():
        if name not in values and entry.default is entry.default_factory is dataclasses.MISSING:
            raise SettingError(f"Missing value for {prefix + name!r}.", got="nothing", expected="a value")
    try:
        return cls(**values)
    except SettingError as error:
        raise error.inside(prefix) from None


def _checked(value: Any, hint: Any, name: str, ignored: list[str] | None) -> Any:
    """A value of the kind that a hint asks for; an integer is left as it is where a float is asked for."""
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        is_made = isinstance(hint, type) and isinstance(value, hint)
        return value if is_made else _built(hint, value, f"{name}.", ignored)  # type: ignore[arg-type]
    if origin is Literal:
        return _choice(value, inner, name)
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, name, ignored)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_checked(item, inner[0], f"{name}.{index}", ignored) for index, item in enumerate(value))
    kind = origin or hint
    if kind is Any or not isinstance(kind, type) or (kind is float and type(value) is int):
        return value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong_kind(name, value, _kind_name(hint))
    return value


def _choice(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    if value in choices:
        return value
    wrong = unknown_choice(name, value, choices)
    raise SettingError(wrong.what, got=wrong.got, expected=wrong.expected, fix=wrong.fix, place=name)


def _one_of(value: Any, hints: tuple[Any, ...], name: str, ignored: list[str] | None) -> Any:
    for hint in hints:
        try:
            return _checked(value, hint, name, ignored)
        except ConfigError as error:
            if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
                raise error from None  # the fault is inside
    raise _wrong_kind(name, value, " or ".join(_kind_name(hint) for hint in hints))


def _kind_name(hint: Any) -> str:
    if hint in _KINDS:
        return _KINDS[hint]
    return "a list" if get_origin(hint) is tuple else "keys with values"


def _unknown_key(name: str, key: str, accepted: Iterable[str], prefix: str) -> SettingError:
    close, expected = nearest(key, accepted), "one of " + ", ".join(sorted(accepted))
    fix = f"did you mean {prefix + close!r}?" if close else "remove it"
    return SettingError(f"Unknown key {name!r}.", got=name, expected=expected, fix=fix, place=name)


def _wrong_kind(name: str, value: object, expected: str) -> SettingError:
    return SettingError(f"Invalid value for {name!r}.", got=repr(value), expected=expected, place=name)


def _left_out(record: Any, keys: list[str]) -> bool:
    """Remove one value from nested ones; False if it is not there."""
    for key in keys[:-1]:
        record = record[int(key)] if isinstance(record, list) and key.isdecimal() else record.get(key)
    if isinstance(record, list) and keys[-1].isdecimal() and int(keys[-1]) < len(record):
        del record[int(keys[-1])]
        return True
    return isinstance(record, dict) and record.pop(keys[-1], record) is not record


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------- YAML and overrides


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is not plain YAML, or holds no mapping.
    """
    from vega3d._utils.plain_yaml import LONGEST, parsed

    try:
        with Path(path).open("rb") as file:
            content = parsed(file.read(LONGEST + 1).decode())
    except (OSError, ValueError) as error:
        what, expected = f"Cannot read the config {str(path)!r}.", "YAML of plain values, each key once"
        fix = "check the path and the indentation; configs/train/ has files to start from"
        got = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            got = f"bytes that are not UTF-8, at {error.start:,}"
        raise ConfigError(what, got=got, expected=expected, fix=fix) from error
    if not isinstance(content, dict):
        what, got = f"Invalid config {str(path)!r}: no settings.", type(content).__name__
        expected, fix = "keys with values: model, recipe, data, ...", "start from a file in configs/train/"
        raise ConfigError(what, got=got, expected=expected, fix=fix)
    return content


def apply_overrides(record: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested settings with ``key.sub=value`` applied; values are YAML, a number counts into a list.

    Raises:
        ConfigError: an override sets nothing, its value is not plain YAML, or its place does not exist.
    """
    changed: dict[str, Any] = _copied(record)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys, shown = name.split("."), _shown(name, text)
        if not equals or not all(keys):
            expected = "key.sub=value, for example trainer.learning_rate=1e-5"
            fix = "write key and value with = between them, without blanks"
            raise ConfigError(f"Invalid override {shown!r}.", got=shown, expected=expected, fix=fix)
        _set(changed, keys, _value(text, shown), shown)
    return changed


def with_overrides(settings: T, overrides: Iterable[str]) -> T:
    """A dataclass with fields changed by ``key.sub=value``."""
    record = {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(settings)}  # type: ignore[arg-type]
    return from_mapping(type(settings), apply_overrides(record, overrides))


def _value(text: str, shown: str) -> Any:
    from vega3d._utils.plain_yaml import parsed

    try:
        return parsed(text)
    except ValueError as error:
        what, fix = f"Invalid value in the override {shown!r}.", "quote special characters: key='\"a: b\"'"
        expected = "a plain YAML value: a number, text, true, null, [a, b], {a: b}"
        raise ConfigError(what, got=str(error), expected=expected, fix=fix) from None


def _shown(name: str, text: str) -> str:
    """An override for a message: short, and without a secret."""
    value = MASK if any(map(is_secret, name.split("."))) else text
    return f"{name}={value}"[:SHOWN] if text else name[:SHOWN]


def _set(record: Any, keys: list[str], value: Any, override: str) -> None:
    from vega3d._utils.plain_yaml import DEPTH

    if len(keys) > DEPTH:
        raise _no_place(override, f"{len(keys):,} levels")
    for level, key in enumerate(keys):
        is_last = level == len(keys) - 1
        if isinstance(record, list):
            key = _index(record, key, override)  # type: ignore[assignment]
        elif not isinstance(record, dict):
            shown = MASK if any(map(is_secret, keys)) else repr(masked(record))[:SHOWN]
            raise _no_place(override, f"the value before {key[:SHOWN]!r} is {shown}, not keys")
        elif not is_last and record.get(key) is None:  # a section that the file leaves out
            record[key] = {}
        if is_last:
            record[key] = value
        else:
            record = record[key]


def _index(record: list[Any], key: str, override: str) -> int:
    index = int(key) if key.isdecimal() and len(key) < 10 else len(record)
    if index >= len(record):
        raise _no_place(override, f"{key[:SHOWN]!r} in a list of {len(record)}")
    return index


def _no_place(override: str, got: str) -> ConfigError:
    what, fix = f"Invalid override {override!r}: no such setting.", "compare with the file"
    expected = "the dotted name of a setting, with entries of a list by number: data.0.root=media/"
    return ConfigError(what, got=got, expected=expected, fix=fix)


# ---------------------------------------------------------------- secrets


def is_secret(name: str) -> bool:
    """True if a setting of this name holds a secret: ``hub_token``, ``api_key``, ``password``."""
    return _SECRET.search(name) is not None


def masked(value: Any, mask: str | None = MASK) -> Any:
    """A copy of nested plain values in which ``mask`` replaces every secret that is set."""
    if isinstance(value, dict):
        return {
            name: mask if is_secret(str(name)) and inner is not None else masked(inner, mask)
            for name, inner in value.items()
        }
    return [masked(inner, mask) for inner in value] if isinstance(value, list | tuple) else value
