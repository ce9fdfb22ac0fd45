"""Scores as text, one character a question, so that the results of a million answers stay a small file.

VSI-Bench's scores are tenths: 0 or 1 for a letter, the mean over ten thresholds for a number. This module
knows no question.
"""

from __future__ import annotations

from collections.abc import Iterable

from vega3d.errors import InputError

TENTHS = "0123456789A"
NONE = "-"


def packed(scores: Iterable[float | None]) -> str:
    """``0`` to ``9`` and ``A`` for tenths, ``-`` for no score.

    Raises:
        InputError: a score is no tenth, and would be rounded.
    """
    return "".join(NONE if score is None else TENTHS[_tenth(score)] for score in scores)


def unpacked(text: str) -> list[float | None]:
    """Inverse of ``packed``."""
    return [None if one == NONE else TENTHS.index(one) / 10 for one in text]


def _tenth(score: float) -> int:
    tenth = round(10 * score)
    if abs(10 * score - tenth) > 1e-6 or not 0 <= tenth <= 10:
        raise InputError(
            "A score is no tenth.", got=score, expected="0, 0.1, ... 1", fix="check the protocol"
        )
    return tenth
