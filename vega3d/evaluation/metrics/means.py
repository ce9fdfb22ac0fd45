"""Means over samples and groups of samples, independent of their order.

Sums are exact (`math.fsum`), so that permuting samples changes no digit. An empty mean is None, written as
null: no samples is not a score of zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there, or None without any."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def percent(value: float | None) -> float | None:
    """A fraction in percent; None stays None."""
    return None if value is None else 100.0 * value


def by_group(groups: Sequence[str], values: Sequence[float | None]) -> dict[str, float | None]:
    """The mean of each named group, in the order of the alphabet; values that are None are left out."""
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        if value is not None and group:
            members.setdefault(group, []).append(value)
    return {group: mean(members[group]) for group in sorted(members)}


def percents(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """`percent` of each value."""
    return {name: percent(value) for name, value in values.items()}
