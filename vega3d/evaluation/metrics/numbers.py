"""Numbers in answers: two published ways to read one, and VSI-Bench's mean relative accuracy.

The two readers belong to two protocols and disagree on about every seventh untidy answer; they are never
mixed. Sources: vision-x-nyu/thinking-in-space and lmms-eval 0.7.3, both ``tasks/vsibench``.
"""

from __future__ import annotations

import math
import re
from itertools import takewhile

import numpy as np

# 1 - theta for theta in 0.5, 0.55, ... 0.95, with the rounding of numpy's linspace: a hit is err <= limit in
# plain float64, so exact boundary cases depend on these very values
LIMITS: tuple[float, ...] = tuple(float(1 - theta) for theta in np.linspace(0.5, 0.95, 10))

_DIGITS = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[a-z]+")
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(UNITS.split())}
_VALUES |= {word: 10 * tens for tens, word in enumerate(_TENS.split(), start=2)}
_NUMBER_WORDS = {*_VALUES, "hundred", "thousand"}


def first_word(answer: str) -> str:
    """The text that VSI-Bench's official scoring compares: up to the first space, without final dots.

    Only the space character splits, so a leading space leaves nothing and ``"B\\nbecause"`` stays whole.
    """
    return answer.split(" ", 1)[0].rstrip(".").strip()


def plain_number(answer: str) -> float | None:
    """The first word as Python's ``float`` reads it (``1_0`` is 10, ``nan`` a number), or None."""
    try:
        return float(first_word(answer))
    except ValueError:
        return None


def number_anywhere(answer: str) -> float | None:
    """The first number in a text, in digits or in English words, as lmms-eval 0.7.3 reads it.

    ``"1,200"`` is 1 and ``"1e1"`` is 1; words run on across ``and``: "three hundred and one" is 301.
    """
    lowered = answer.strip().lower()
    digits = _DIGITS.search(lowered)
    words = list(_WORD.finditer(lowered))
    start = next((n for n, match in enumerate(words) if match[0] in _NUMBER_WORDS), None)
    if digits and (start is None or digits.start() < words[start].start()):
        return float(digits[0])
    if start is None:
        return None
    run = takewhile(lambda word: word == "and" or word in _NUMBER_WORDS, (m[0] for m in words[start:]))
    return _spelled([word for word in run if word != "and"])


def mean_relative_accuracy(predicted: float | None, truth: float | None) -> float:
    """The share of the ten thresholds that a number meets: 0, 0.1, ... 1.

    Args:
        predicted: the answer; None, NaN or infinity scores 0.
        truth: the true value. Relative error has no meaning for 0, below 0, NaN or infinity: these score 0
            (the reference divides by zero for 0).
    """
    if predicted is None or truth is None or not (math.isfinite(truth) and truth > 0):
        return 0.0
    error = abs(predicted - truth) / truth
    return sum(error <= limit for limit in LIMITS) / len(LIMITS)


def _spelled(words: list[str]) -> float:
    """The value of English number words; tens and units add up, hundred and thousand multiply."""
    total = current = 0
    for word in words:
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        else:
            current += _VALUES[word]
    try:
        return float(total + current)
    except OverflowError:  # "hundred" a thousand times over
        return math.inf
