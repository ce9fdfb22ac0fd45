"""Numbers, letters, literals, cleaned answers and matchings: the rules that the tasks are made of."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vega3d.errors import DependencyError
from vega3d.evaluation.metrics.answers import any_match, clean, ordered_match
from vega3d.evaluation.metrics.choices import first_capital, leading_letter, stated_letter, truth_letter
from vega3d.evaluation.metrics.literals import MAX_DEPTH, lines_within_fence, literal
from vega3d.evaluation.metrics.matching import Counts, greedy_counts, hungarian_f1
from vega3d.evaluation.metrics.means import by_group, mean
from vega3d.evaluation.metrics.numbers import (
    first_word,
    mean_relative_accuracy,
    number_anywhere,
    plain_number,
)

positive = st.floats(1e-6, 1e6)


@given(positive, positive)
def test_mra_is_numpys_formula(predicted: float, truth: float) -> None:
    limits = 1 - np.linspace(0.5, 0.95, 10)
    expected = (abs(predicted - truth) / truth <= limits).mean()
    assert mean_relative_accuracy(predicted, truth) == expected


@pytest.mark.parametrize(
    ("predicted", "truth", "score"),
    [(1.5, 1.0, 0.1), (5.2, 4.0, 0.5), (4.0, 4.0, 1.0), (0.0, 4.0, 0.0), (8.0, 4.0, 0.0), (-4.0, 4.0, 0.0)],
)
def test_mra_on_its_boundaries_follows_float64(predicted: float, truth: float, score: float) -> None:
    assert mean_relative_accuracy(predicted, truth) == score


@pytest.mark.parametrize("truth", [0.0, -0.0, -3.0, float("nan"), float("inf"), None])
@given(predicted=st.floats())
def test_a_true_value_that_has_no_relative_error_scores_0(truth: float | None, predicted: float) -> None:
    assert mean_relative_accuracy(predicted, truth) == 0.0


@pytest.mark.parametrize("predicted", [None, float("nan"), float("inf"), float("-inf")])
def test_an_answer_that_is_no_number_scores_0(predicted: float | None) -> None:
    assert mean_relative_accuracy(predicted, 3.0) == 0.0


@pytest.mark.parametrize(
    ("answer", "first", "anywhere"),
    [
        ("3", 3.0, 3.0),
        ("3.\n", 3.0, 3.0),
        (" 3", None, 3.0),
        ("about 3", None, 3.0),
        ("1,200", None, 1.0),
        ("1e1", 10.0, 1.0),
        ("1_0", 10.0, 1.0),
        ("three hundred and twenty-one", None, 321.0),
        ("two thousand and five chairs", None, 2005.0),
        ("one apple, room 2", None, 1.0),
        ("and", None, None),
        ("", None, None),
    ],
)
def test_the_two_readers_of_numbers_are_two(answer: str, first: float | None, anywhere: float | None) -> None:
    assert plain_number(answer) == first
    assert number_anywhere(answer) == anywhere


@given(st.text())
def test_only_a_space_ends_the_first_word(answer: str) -> None:
    assert " " not in first_word(answer)
    assert first_word(answer + " and more") == first_word(answer)


@given(st.integers(0, 10**6))
def test_digits_are_read_wherever_they_stand(value: int) -> None:
    assert number_anywhere(f"I count {value} of them.") == value


def test_number_words_without_end_are_infinite_and_no_error() -> None:
    assert number_anywhere("hundred " * 500) == float("inf")


@given(st.sampled_from("ABCDEF"), st.sampled_from(["The answer is ", "The best answer is ", ""]))
def test_a_plain_letter_is_read_by_all_rules_that_know_it(letter: str, before: str) -> None:
    assert first_capital(before + letter) == letter
    assert stated_letter(before + letter, 6) == letter
    assert leading_letter(letter + ". because") == letter
    assert truth_letter(f"({letter})") == letter


def test_the_three_rules_for_letters_are_three() -> None:
    answer = "The final answer: (B)"
    assert (first_capital("Final " + answer), leading_letter(answer), stated_letter(answer, 2)) == (
        "F",
        "T",
        "B",
    )


def test_a_stated_letter_follows_the_published_order_of_steps() -> None:
    assert stated_letter("A.\nthe answer is B", 2) == "A"  # a first line of up to four characters
    assert stated_letter("A.....\nthe answer is B", 2) == "B"  # then the last "answer is"
    assert stated_letter("answer: A, no, answer B; (A)", 2) == "B"
    assert stated_letter("(A) or (B)", 2) == "B"  # then the last one in brackets
    assert stated_letter("Ants", 2) == "A"  # then a leading letter
    assert stated_letter("C", 2) == ""


@given(st.text(), st.integers(-3, 40))
@settings(max_examples=300)
def test_a_letter_that_is_read_is_one_of_the_alphabet(answer: str, count: int) -> None:
    for letter in (first_capital(answer), leading_letter(answer), stated_letter(answer, count)):
        assert len(letter) <= 1


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_like)
@settings(max_examples=300)
def test_a_literal_comes_back_as_it_was_written(value: object) -> None:
    assert literal(repr(value)) == value


@given(st.text() | st.text(alphabet="{}[]()'\":,+-~ \\\n0123456789.eEjabx", max_size=60))
@settings(max_examples=500)
@example("[" * 5000)
@example("-" * 9000 + "1")
@example("9" * 9000)
@example("'\\N{nothing}'")
@example("1 is not 2")
@example("{**{}}")
@example("{[]: 1}")
@example("f'{1}'")
@example("\x00")
@example("\ud800")
def test_a_line_is_a_literal_or_a_value_error(line: str) -> None:
    try:
        value = literal(line)
    except ValueError:
        return
    assert value == ast.literal_eval(line) or value != value


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('touch {0}')",
        "open({0!r}, 'w').write('x')",
        "[x for x in ().__class__.__base__.__subclasses__()]",
        "(lambda: open({0!r}, 'w'))()",
        "{{'frame': 0, 'bbox_3d': [open({0!r}, 'w') or 0] * 9}}",
        "9 ** 9 ** 9 ** 9",
        "'a' * 10 ** 10",
        "exec('1')",
    ],
)
def test_nothing_that_a_model_writes_is_run(attack: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(ValueError, match="literal"):
        literal(attack.format(str(trap)))
    assert not trap.exists()


def test_nesting_is_allowed_up_to_a_depth() -> None:
    assert literal("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    with pytest.raises(ValueError, match="nested"):
        literal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_a_fence_is_stripped_by_characters_as_published() -> None:
    assert lines_within_fence("```json\n{}\n```") == ["{}"]
    assert lines_within_fence("{}\njson") == ["{}"]
    assert lines_within_fence("no") == [""]  # only letters of "json"


@given(st.text())
@settings(max_examples=300)
def test_an_answer_matches_itself_once_cleaned(answer: str) -> None:
    assert any_match(clean(answer), [clean(answer)]) == (1, 1)
    assert ordered_match(clean(answer), [clean(answer)]) == (1, 1)


@given(st.text(alphabet=" .ao'c lkthe\n0123456789-:,", max_size=40))
@settings(max_examples=500)
def test_joining_spaces_first_cleans_as_the_published_order_does(answer: str) -> None:
    slow = re.sub("[ ]+$", "", answer.lower())
    slow = re.sub(" {2,}", " ", re.sub("^[ ]+", "", slow))
    assert clean(answer) == clean(slow)


def test_leo_loses_an_exact_match_behind_one_that_contains() -> None:
    assert ordered_match("brown tv", ["tv", "brown tv"]) == (0, 1)
    assert any_match("brown tv", ["tv", "brown tv"]) == (1, 1)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_f1_is_between_0_and_1_and_does_not_depend_on_the_order(p: int, g: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    iou = rng.uniform(0, 1, (p, g))
    f1 = hungarian_f1(iou, (0.25, 0.5))
    assert all(0 <= value <= 1 for value in f1)
    assert f1[0] >= f1[1]
    assert f1 == hungarian_f1(iou[rng.permutation(p)][:, rng.permutation(g)], (0.25, 0.5))
    assert f1 == hungarian_f1(iou.T, (0.25, 0.5))


def test_the_assignment_maximises_the_total_overlap() -> None:
    # greedy would take 0.9 and leave 0.1; together 0.8 + 0.7 is more
    assert hungarian_f1(np.array([[0.9, 0.8], [0.7, 0.1]]), (0.5,)) == [1.0]
    assert greedy_counts(np.array([[0.9, 0.8], [0.7, 0.1]]), 0.5) == Counts(tp=1, fp=1, fn=1)


def test_both_empty_is_right_and_one_empty_is_wrong() -> None:
    assert hungarian_f1(np.zeros((0, 0)), (0.25, 0.5)) == [1.0, 1.0]
    assert hungarian_f1(np.zeros((2, 0)), (0.25, 0.5)) == [0.0, 0.0]
    assert hungarian_f1(np.zeros((0, 2)), (0.25, 0.5)) == [0.0, 0.0]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_greedy_counts_add_up(p: int, g: int, seed: int) -> None:
    counts = greedy_counts(np.random.default_rng(seed).uniform(0, 1, (p, g)), 0.25)
    assert (counts.tp + counts.fp, counts.tp + counts.fn) == (p, g)


def test_a_hit_of_detection_overlaps_by_more_than_the_threshold() -> None:
    assert greedy_counts(np.array([[0.25]]), 0.25).tp == 0


def test_without_scipy_the_matching_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(DependencyError, match="scipy"):
        hungarian_f1(np.ones((1, 1)), (0.5,))


def test_a_mean_of_nothing_is_none_and_a_group_without_name_is_left_out() -> None:
    assert mean([]) is None
    assert mean([None, 1.0]) == 1.0
    assert by_group(["a", "", "b", "a"], [1.0, 1.0, None, 0.0]) == {"a": 0.5}


@given(st.lists(st.floats(0, 1), max_size=30).flatmap(lambda v: st.tuples(st.just(v), st.permutations(v))))
def test_a_mean_does_not_depend_on_the_order(lists: tuple[list[float], list[float]]) -> None:
    values, shuffled = lists
    assert mean(values) == mean(shuffled)
