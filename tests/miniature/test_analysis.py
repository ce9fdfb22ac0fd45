"""The analysis against numbers worked out by hand, and the paired bootstrap's properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from experiments.miniature.analysis import analyse, contrast, holm, mean_of, together, two_sided
from experiments.miniature.packing import packed, unpacked
from vega3d.errors import InputError

KINDS = ("object_counting", "object_rel_distance")
QUESTIONS = [
    [str(n), f"room_{n // 2}", KINDS[n % 2]] for n in range(8)
]  # two questions in each of four rooms
DRAWS = 400

Column = list[float]
columns = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=8, max_size=8)


def one_seed(column: Column) -> dict[str, list[float | None]]:
    return {"0": [*column]}


def compared(arm: Column, over: Column) -> dict[str, Any]:
    return contrast(QUESTIONS, {"arm": one_seed(arm), "over": one_seed(over)}, ("arm", "over"), DRAWS)


def test_a_mean_counts_every_type_the_same() -> None:
    # counting: 1, 1, 0, 0; distance: 1, 0, 0, 0
    found = mean_of(QUESTIONS, one_seed([1, 1, 1, 0, 0, 0, 0, 0]))
    assert found["mean"] == pytest.approx(100 * (0.5 + 0.25) / 2)


def test_directions_of_three_difficulties_are_one_type() -> None:
    kinds = ["object_rel_direction_easy", "object_rel_direction_hard", "object_counting"]
    questions = [[str(n), f"room_{n}", kind] for n, kind in enumerate(kinds)]
    assert mean_of(questions, {"0": [1.0, 0.0, 0.0]})["mean"] == pytest.approx(25.0)


def test_a_difference_and_its_error_are_those_of_the_rooms() -> None:
    # both types gain 1 in rooms 0 and 1 and nothing in rooms 2 and 3: the difference is 50 points; a room's
    # part is +-0.5 / 4 of it, so the error is sqrt(4 * 0.125^2 * 4 / 3) = 0.2887
    found = compared([1, 1, 1, 1, 0, 0, 0, 0], [0.0] * 8)
    assert found["difference"] == pytest.approx(50.0)
    assert found["error"] == pytest.approx(100 * math.sqrt(4 * 0.125**2 * 4 / 3))


def test_the_spread_of_seeds_is_added_to_that_of_rooms() -> None:
    assert together(3.0, [1.0, 5.0]) == pytest.approx(math.sqrt(9 + 8 / 2))
    assert together(3.0, [1.0]) == 3.0
    assert together(None, [1.0, 5.0]) is None


def test_seeds_are_averaged_question_by_question() -> None:
    scores = {"arm": {"0": [1.0] * 8, "1": [0.5] * 8}, "over": {"0": [0.0] * 8, "1": [0.5] * 8}}
    found = contrast(QUESTIONS, scores, ("arm", "over"), DRAWS)
    assert found["difference"] == pytest.approx(50.0)
    assert found["seeds"] == pytest.approx([100.0, 0.0])


def test_a_question_that_one_arm_did_not_answer_is_left_out_and_counted() -> None:
    found = compared([None, 1, 1, 1, 1, 1, 1, 1], [0.0] * 8)  # type: ignore[list-item]
    assert (found["questions"], found["left_out"]) == (7, 1)
    assert found["difference"] == pytest.approx(100.0)


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_p_is_twice_the_smaller_side_and_never_zero() -> None:
    assert two_sided((0.02, 0.98), 1000) == pytest.approx(0.04)
    assert two_sided((0.0, 1.0), 1000) == pytest.approx(0.001)
    assert two_sided((None, None), 1000) == 1.0


@given(st.lists(st.sampled_from([None, 0.0, 0.1, 0.3, 0.7, 1.0])))
def test_packed_scores_are_the_same_scores(scores: list[float | None]) -> None:
    assert unpacked(packed(scores)) == scores


def test_a_score_that_would_be_rounded_is_refused() -> None:
    with pytest.raises(InputError, match="tenth"):
        packed([0.25])


@how(max_examples=40)
@given(columns, columns)
def test_the_other_way_round_everything_changes_its_sign(arm: Column, over: Column) -> None:
    forth, back = compared(arm, over), compared(over, arm)
    assert back["difference"] == pytest.approx(-forth["difference"], abs=1e-9)
    assert back["interval"] == pytest.approx([-edge for edge in reversed(forth["interval"])], abs=1e-9)
    assert (back["p"], back["error"]) == pytest.approx((forth["p"], forth["error"]))


@how(max_examples=40)
@given(columns)
def test_an_arm_is_no_better_than_itself(column: Column) -> None:
    found = compared(column, column)
    assert (found["difference"], found["interval"], found["p"], found["error"]) == (0.0, [0.0, 0.0], 1.0, 0.0)


@how(max_examples=40)
@given(columns, st.sampled_from([-0.5, 0.25, 0.5]))
def test_a_gain_that_is_the_same_everywhere_has_no_spread(column: Column, gain: float) -> None:
    found = compared([value + gain for value in column], column)
    assert found["difference"] == pytest.approx(100 * gain)
    assert found["interval"] == pytest.approx([100 * gain] * 2)
    assert found["error"] == pytest.approx(0.0, abs=1e-9)


@how(max_examples=40)
@given(columns, columns, st.permutations(range(8)))
def test_the_order_of_questions_does_not_matter(arm: Column, over: Column, order: list[int]) -> None:
    scores = {"arm": one_seed([arm[at] for at in order]), "over": one_seed([over[at] for at in order])}
    found = contrast([QUESTIONS[at] for at in order], scores, ("arm", "over"), DRAWS)
    plain = compared(arm, over)
    assert found["difference"] == pytest.approx(plain["difference"], abs=1e-9)
    assert found["interval"] == pytest.approx(plain["interval"], abs=1e-9)


def toy(gain: float, oracle: float) -> dict[str, Any]:
    """Results of many rooms in which the video arm has a gain, and the oracle another one."""
    questions = [[str(n), f"room_{n // 2}", KINDS[n % 2]] for n in range(400)]
    base = [float(n % 3 == 0) / 2 for n in range(400)]
    arms = {"host_twice": 0.0, "image_frame": 0.0, "video_frame": gain, "oracle": oracle}
    noise = [((n * 7919) % 101 - 50) / 1000 for n in range(400)]
    scores = {
        arm: {"0": [b + more + (x if more else 0.0) for b, x in zip(base, noise, strict=True)]}
        for arm, more in arms.items()
    }
    return {"draws": DRAWS, "questions": {"rooms": questions}, "scores": {"rooms": scores}}


def test_a_clear_gain_is_found() -> None:
    check, *said = analyse(toy(gain=0.05, oracle=0.3))["verdict"]
    assert "check holds" in check
    assert len(said) == 2
    assert all(": found (" in line for line in said)


def test_a_clear_loss_is_found_for_the_worse() -> None:
    assert all("for the worse" in line for line in analyse(toy(gain=-0.05, oracle=0.3))["verdict"][1:])


def test_nothing_is_not_found() -> None:
    assert all("not found" in line for line in analyse(toy(gain=0.0, oracle=0.3))["verdict"][1:])


def test_a_run_whose_oracle_does_not_help_says_that_it_cannot_speak() -> None:
    assert "cannot speak" in analyse(toy(gain=0.05, oracle=-0.1))["verdict"][0]


def test_an_arm_that_diverged_is_in_no_contrast() -> None:
    results = toy(gain=0.05, oracle=0.3) | {"failed": {"image_frame": ["0"]}}
    found = analyse(results)
    assert all("image_frame" not in (one["arm"], one["over"]) for one in found["contrasts"])
    assert any("not part of this run" in line for line in found["verdict"])
    assert any("diverged with seed 0" in line for line in found["verdict"])


def test_what_an_arm_loses_with_another_clips_features_is_a_paired_difference() -> None:
    results = toy(gain=0.05, oracle=0.3)
    results["swapped"] = {"video_frame": {"0": results["scores"]["rooms"]["host_twice"]["0"]}}
    found = analyse(results)
    (lost,) = found["swapped"]
    gained = next(one for one in found["contrasts"] if one["over"] == "host_twice")
    assert (lost["arm"], lost["difference"]) == ("video_frame", pytest.approx(gained["difference"]))
    assert lost["interval"] == pytest.approx(gained["interval"])


def test_a_failed_arm_is_not_swapped_either() -> None:
    results = toy(gain=0.05, oracle=0.3) | {"failed": {"video_frame": ["0"]}}
    results["swapped"] = {"video_frame": results["scores"]["rooms"]["video_frame"]}
    assert analyse(results)["swapped"] == []


def test_each_type_has_its_own_mean_and_the_mean_of_them_is_the_score() -> None:
    found = analyse(toy(gain=0.05, oracle=0.3))
    for arm, types in found["types"].items():
        assert set(types) == set(KINDS)
        assert sum(mean for mean, _ in types.values()) / 2 == pytest.approx(
            found["arms"]["rooms"][arm]["mean"]
        )


def test_a_run_says_what_it_could_see() -> None:
    said = analyse(toy(gain=0.05, oracle=0.3))["power"]
    assert len(said) == 2
    assert all("200 rooms, 1 seeds" in line and "80 % power" in line for line in said)


def test_what_constant_answers_score_stands_beside_the_arms() -> None:
    blind = {"object_rel_direction_easy": 0.5, "object_rel_direction_hard": 0.3, "object_counting": 0.6}
    results = toy(gain=0.05, oracle=0.3) | {
        "blind": {"rooms": {kind: {"chance": None, "constant": best} for kind, best in blind.items()}}
    }
    found = analyse(results)
    assert found["blind"]["rooms"]["mean"] == pytest.approx(100 * (0.4 + 0.6) / 2)  # directions are one type
    assert any("which look at nothing, score 50.0;" in line for line in found["verdict"])


def test_arms_are_in_the_order_of_their_table_however_the_file_is_sorted() -> None:
    results = toy(gain=0.05, oracle=0.3)
    results["scores"]["rooms"] = dict(sorted(results["scores"]["rooms"].items()))
    assert list(analyse(results)["arms"]["rooms"]) == ["host_twice", "video_frame", "image_frame", "oracle"]
