"""Scores as percentages, with as many digits as the number of questions supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEWEST = 5  # questions below which no error and no interval is given
MANY = 100  # questions from which a percentage has one decimal


def percent(share: float | None, questions: int) -> str:
    """A share as ``61 %``, or ``61.2 %`` of many questions; a dash if there is none."""
    return "–" if share is None else f"{100 * share:.{_decimals(questions)}f} %"


def points(difference: float | None, questions: int) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return "–" if difference is None else f"{100 * difference:+.{_decimals(questions)}f}"


def with_error(mean: Mapping[str, Any]) -> str:
    """A mean of a result with its standard error in points; few questions have none."""
    shown, error = percent(mean["mean"], mean["n"]), mean["standard_error"]
    if error is None or mean["n"] < FEWEST:
        return shown
    return f"{shown} ± {100 * error:.{_decimals(mean['n'])}f}"


def metric(name: str, value: object, questions: int) -> str:
    """A printed number of a protocol; its name states the scale. CIDEr is no share, and has no unit."""
    if not isinstance(value, float) or name.startswith("counts"):
        return "–" if value is None else str(value)
    if "x100" in name or "percent" in name:
        return f"{value:.{_decimals(questions)}f}" + ("" if "CIDEr" in name else " %")
    return percent(value, questions)


def interval(result: Mapping[str, Any], questions: int) -> str:
    """The 95 % interval of a difference in points; empty below five questions or in one scene."""
    if result["interval_95"] is None or questions < FEWEST:
        return ""
    low, high = (f"{100 * edge:+.{_decimals(questions)}f}" for edge in result["interval_95"])
    return f"{low} to {high}"


def _decimals(questions: int) -> int:
    return 1 if questions >= MANY else 0
