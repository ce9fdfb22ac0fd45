"""Nested plain values as frozen dataclasses: every key known, every value of the kind that its hint names.

This module knows no settings.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vega3d.errors import ConfigError, nearest, unknown_choice

CORRECT = "correct the file or the override"


class SettingError(ConfigError):
    """A setting that is wrong, with its place.

    Args:
        place: dotted name of what is left out so that the rest can be looked at; empty if nothing helps.
    """

    def __init__(self, what: str, *, got: object, expected: object, fix: str | None, place: str = "") -> None:
        super().__init__(what, got=got, expected=expected, fix=fix)
        self.place = place


def built(cls: Any, record: Any, place: str) -> Any:
    """A dataclass from a mapping.

    Args:
        cls: the dataclass.
        record: its fields; inner dataclasses as mappings.
        place: dotted name of the record, with a dot at its end; empty for the whole.

    Raises:
        SettingError: a key is unknown or missing, or a value is of the wrong kind.
    """
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
        return built(hint, value, f"{place}.")
    if origin is Literal:
        if value not in inner:
            wrong = unknown_choice(place, value, inner)
            raise SettingError(wrong.what, got=wrong.got, expected=wrong.expected, fix=wrong.fix, place=place)
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


def _unknown_key(name: str, key: str, accepted: Iterable[str], place: str = "") -> SettingError:
    close = nearest(key, accepted)
    return SettingError(
        f"Unknown key {name!r}.",
        got=name,
        expected="one of " + ", ".join(sorted(accepted)),
        fix=f"did you mean {place + close!r}?" if close else "remove it",
        place=name,
    )


def _wrong_kind(place: str, value: object, expected: str) -> SettingError:
    return SettingError(
        f"{place} has a value of the wrong kind.",
        got=repr(value),
        expected=expected,
        fix=CORRECT,
        place=place,
    )
