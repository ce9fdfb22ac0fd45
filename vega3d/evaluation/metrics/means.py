"""Means over samples and groups of samples, independent of their order.

Sums are exact (`math.fsum`), so that permuting samples changes no digit. An empty mean is None, written as
null: no samples is not a score of zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Means = dict[str, float | None]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there, or None without any."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def by_group(groups: Sequence[str], values: Sequence[float | None]) -> Means:
    """The mean of each named group, in the order of the alphabet; values that are None are left out."""
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        if value is not None and group:
            members.setdefault(group, []).append(value)
    return {group: mean(members[group]) for group in sorted(members)}


def by_type(types: Sequence[str], rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Means:
    """Means of scored samples as one flat table: ``type name`` of each type, then ``all name``.

    Args:
        types: type of each sample; an empty one counts under ``all`` only.
        rows: scored samples.
        names: name in the table by the field of a row.
    """
    table: Means = {}
    for field, name in names.items():
        values = [float(row[field]) for row in rows]
        table |= {f"{kind} {name}": value for kind, value in by_group(types, values).items()}
        table[f"all {name}"] = mean(values)
    return table


def percents(values: Mapping[str, float | None]) -> Means:
    """Fractions in percent; None stays None."""
    return {name: None if value is None else 100.0 * value for name, value in values.items()}
