"""Random draws that are the same on every machine and with every numpy.

Decision: numpy promises the streams of its *bit generators*, not those of `Generator.uniform` and its
kind (NEP 19). So all that a seed decides is drawn here, from the raw 64-bit words of PCG64, with
arithmetic that IEEE 754 fixes: no logarithm, no sine. This module does not depend on rooms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 256


class Rng:
    """A stream of draws, fixed by a key of integers >= 0."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))
        self._words: list[int] = []

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high), 53 bits fine."""
        if not self._words:
            self._words = self._bits.random_raw(_BLOCK).tolist()[::-1]
        return low + (high - low) * ((self._words.pop() >> 11) * 2.0**-53)

    def whole(self, low: int, high: int) -> int:
        """An integer in [low, high)."""
        return low + int(self.real() * (high - low))

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.real() < share

    def bell(self, spread: float) -> float:
        """About normal with this standard deviation, never beyond six of them (sum of twelve reals)."""
        return spread * (sum(self.real() for _ in range(12)) - 6.0)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.whole(0, len(items))]

    def some(self, items: Iterable[T], most: int | None = None) -> list[T]:
        """At most ``most`` of the items (all by default), in random order."""
        left = list(items)
        for i in range(len(left) - 1, 0, -1):
            j = self.whole(0, i + 1)
            left[i], left[j] = left[j], left[i]
        return left[:most]
