"""The long form of a promise: whoever sees no video is at chance."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from benchmarks import rooms_blind
from vega3d.rooms.questions import MULTIPLE_CHOICE, NUMERIC


@pytest.mark.full
def test_text_alone_answers_no_better_than_chance() -> None:
    """Choices: within three standard errors and two points of chance. Numbers: of the best constant."""
    rows = defaultdict(list)
    for index in range(300):
        for row in rooms_blind.questions_of(index):
            rows[row[1]].append(row)
    for kind in (*MULTIPLE_CHOICE, *NUMERIC):
        score = rooms_blind.by_choice if kind in MULTIPLE_CHOICE else rooms_blind.by_number
        frequency, text = rooms_blind.judge(rows[kind], score)
        chance = [1 / len(row[3]) for row in rows[kind]] if kind in MULTIPLE_CHOICE else frequency
        assert text.mean() < np.mean(chance) + 3 * text.std() / len(text) ** 0.5 + 0.02, kind
