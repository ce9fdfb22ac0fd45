"""Standard errors are those of scenes, not of questions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d.evaluation.run.standard_errors import clustered_error, macro_weights, micro_weights

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=30)


@given(SCORES)
def test_with_one_question_a_scene_it_is_the_textbook_error(scores: list[float]) -> None:
    n = len(scores)
    scenes = [str(number) for number in range(n)]
    found = clustered_error(scores, micro_weights(scores), [""] * n, scenes)
    assert found == pytest.approx(np.std(scores, ddof=1) / math.sqrt(n), abs=1e-12)


@given(SCORES, st.integers(2, 9))
def test_repeating_every_question_in_its_scene_does_not_make_it_surer(
    scores: list[float], times: int
) -> None:
    scenes = [str(number) for number in range(len(scores))]
    once = clustered_error(scores, micro_weights(scores), [""] * len(scores), scenes)
    many = scores * times
    again = clustered_error(many, micro_weights(many), [""] * len(many), scenes * times)
    assert again == pytest.approx(once, abs=1e-12)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_macro_weights_give_every_group_the_same_share(kinds: list[str]) -> None:
    merged = {"a": "first", "b": "first"}
    weights = macro_weights(kinds, merged)
    groups = {merged.get(kind, kind) for kind in kinds}
    for group in groups:
        share = sum(w for w, kind in zip(weights, kinds, strict=True) if merged.get(kind, kind) == group)
        assert share == pytest.approx(1 / len(groups))


def test_one_scene_says_nothing_about_others() -> None:
    assert clustered_error([0.0, 1.0], micro_weights([0, 1]), ["", ""], ["a", "a"]) is None
