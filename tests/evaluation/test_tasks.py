"""Particulars of each benchmark: prompts, sets, types, refinement, and open cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.golden import FILES, PROTOCOLS, document
from tests.evaluation.strategies import anything, words
from vega3d.evaluation import load_protocol, score
from vega3d.evaluation.benchmarks import multi3drefer, scan2cap, scanrefer, sqa3d, vsibench
from vega3d.evaluation.records import MAX_ANSWER
from vega3d.geometry.iou import rotation_zxy

TEXTBOX = document("scanrefer__textbox")["samples"]


@pytest.mark.parametrize("task", ["vsibench", "vsibench/lmms-eval", "vsibench/debiased"])
def test_vsibench_asks_in_the_published_words(task: str) -> None:
    golden = document("vsibench")
    prompt = load_protocol(task).prompt
    texts = {entry["id"]: entry["text"] for entry in golden["expected"]["prompt_text"]}
    assert texts
    assert all(prompt(s) == texts[s["id"]] for s in golden["samples"] if s["id"] in texts)


@pytest.mark.parametrize("file", ["cvbench", "blink_spatial"])
def test_questions_about_pictures_are_asked_in_the_published_words(file: str) -> None:
    prompt = load_protocol(FILES[file][0]).prompt
    assert prompt(document(file)["samples"][0]) == document(file)["expected"]["prompt_text_sample0"]


@pytest.mark.parametrize("name", PROTOCOLS)
@given(data=st.data())
@settings(max_examples=30)
def test_a_prompt_is_text_whatever_the_record_holds(name: str, data: st.DataObject) -> None:
    prompt = load_protocol(name).prompt
    fields = dict.fromkeys(["question", "prompt", "options", "description", "choices", "situation"], anything)
    record = data.draw(st.fixed_dictionaries({"question_type": words}, optional=fields))
    assert isinstance(prompt(record), str)


def test_a_kind_of_question_that_is_missing_is_left_out_of_the_mean() -> None:
    types = ["object_rel_direction_easy", "object_rel_direction_medium", "route_planning", "route_planning"]
    assert vsibench.aggregate(types, [1.0, 0.0, 1.0, 1.0]) == {
        "object_rel_direction_accuracy": 0.5,
        "route_planning_accuracy": 1.0,
        "overall": 0.75,
    }
    assert vsibench.aggregate(types[2:], [1.0, 0.0]) == {"route_planning_accuracy": 0.5, "overall": 0.5}


def test_an_unknown_kind_of_question_has_no_score_and_is_a_problem() -> None:
    result = score("vsibench", [{"question_type": "colour", "ground_truth": "A", "prediction": "A"}])
    assert result["per_sample"][0]["score"] is None
    assert result["aggregate_fraction"] == {"overall": None}
    assert result["problems"] == {"question_type: unusable": 1}


def test_the_debiased_set_is_what_is_not_marked_pruned() -> None:
    samples = document("vsibench")["samples"]
    marked = [{**sample, "pruned": n % 2 == 0} for n, sample in enumerate(samples)]
    result = score("vsibench/debiased", marked)
    whole = score("vsibench", samples[1::2])
    assert result["aggregate_x100"] == whole["aggregate_x100"]
    assert result["selection"] == {"kept": len(samples) // 2, "pruned": len(samples) // 2, "marked": True}
    unmarked = score("vsibench/debiased-lmms-eval", samples)
    assert unmarked["selection"] == {"kept": len(samples), "pruned": 0, "marked": False}


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("  What is it?", "what"),
        ("IS it?", "is"),
        ("How many", "how"),
        ("Can I", "can"),
        ("Which one", "which"),
    ]
    + [("Where", "others"), ("", "others")],
)
def test_the_kind_of_a_situated_question_is_its_first_word(question: str, kind: str) -> None:
    assert sqa3d.question_type({"question": question}) == kind


def test_kinds_of_situated_questions_follow_from_the_golden_questions() -> None:
    for sample in document("sqa3d")["samples"]:
        assert sqa3d.question_type({"question": sample["question"]}) == sample["question_type"]


@pytest.mark.parametrize("truth", [None, [], {}, True])
@pytest.mark.parametrize("answer", ["", "brown", None])
def test_without_a_ground_truth_no_answer_is_right(truth: object, answer: object) -> None:
    fields = dict.fromkeys(["gt_response", "ground_truth", "answer", "answers"], truth)
    record = {**fields, "prediction": answer, "pred_response": answer, "question_type": "route_planning"}
    assert score("sqa3d", [record])["aggregate_percent_leo"]["EM-R"] == 0
    assert score("scanqa/leo", [record])["aggregate_percent"]["EM-R"] == 0
    assert score("vsibench", [record])["aggregate_x100"]["overall"] == 0
    assert score("cvbench", [record])["per_sample"][0]["correct"] == 0


def test_a_proposal_is_picked_by_score_and_never_nothing() -> None:
    boxes = [[0, 0, 0, 1, 1, 1], [5, 5, 5, 1, 1, 1]]
    sample = {"objects": boxes, "scores": [0.1, 0.2, 0.9], "gt_response": boxes[1], "question_type": "unique"}
    result = score("scanrefer/proposal", [sample])
    assert result["per_sample"][0]["iou"] == pytest.approx(1.0)
    assert result["aggregate_percent"]["unique iou@0.5"] == 100.0


def test_without_refinement_a_written_box_stays_and_with_it_the_nearest_proposal_is_taken() -> None:
    good = [
        s
        for s, row in zip(TEXTBOX, score("scanrefer/textbox", TEXTBOX)["per_sample"], strict=True)
        if row["iou25"]
    ]
    exact = [{**s, "proposals": [s["gt_bbox"][:6], [50, 50, 50, 1, 1, 1]]} for s in good]
    refined = score("scanrefer/textbox-refined", exact)
    for sample, row in zip(exact, refined["per_sample"], strict=True):
        assert row["refined_bbox"] == [*sample["gt_bbox"][:6], 0, 0, 0]
        assert row["pred_bbox"] != row["refined_bbox"]
    far = [{**s, "proposals": [[50, 50, 50, 1, 1, 1]]} for s in TEXTBOX]
    kept, plain = score("scanrefer/textbox-refined", far), score("scanrefer/textbox", TEXTBOX)
    assert [r["iou"] for r in kept["per_sample"]] == [r["iou"] for r in plain["per_sample"]]


def test_a_box_that_was_not_parsed_is_not_refined() -> None:
    sample = {**TEXTBOX[0], "prediction": "nowhere", "proposals": [TEXTBOX[0]["gt_bbox"][:6]]}
    row = score("scanrefer/textbox-refined", [sample])["per_sample"][0]
    assert (row["parsed"], row["refined_bbox"], row["iou"]) == (False, None, 0.0)


def test_the_box_of_a_frame_lands_where_the_camera_stood() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_zxy([0.4, 0.3, 0.2]), [1, 2, 3]
    moved = scanrefer.to_room(np.array([0, 0, 0, 1, 2, 3, 0, 0, 0.0]), pose)
    assert moved == pytest.approx([1, 2, 3, 1, 2, 3, 0.4, 0.3, 0.2])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_the_chosen_proposals_are_the_fewest_that_reach_the_published_share(scores: list[float]) -> None:
    values = np.array(scores)
    chosen = multi3drefer.select(values)
    if values.argmax() == len(values) - 1:
        assert chosen == []
        return
    weights = np.exp(values / multi3drefer.TEMPERATURE)
    shares = (weights / weights.sum())[:-1]
    assert len(chosen) >= 1
    assert shares[chosen[:-1]].sum() < multi3drefer.ENOUGH
    assert shares[chosen].sum() >= multi3drefer.ENOUGH - 1e-9 or len(chosen) == len(shares)
    assert shares[chosen].min() >= max([s for n, s in enumerate(shares) if n not in chosen], default=0.0)


def test_scores_that_do_not_fit_the_proposals_are_wrong_even_without_a_target() -> None:
    sample = {"objects": [[0, 0, 0, 1, 1, 1]], "scores": [1.0], "gt_response": [], "question_type": "zt_w_d"}
    assert score("multi3drefer/vega", [sample])["per_sample"][0] == {
        "id": None, "selected": [], "f1_25": 0.0, "f1_50": 0.0
    }  # fmt: skip


@pytest.mark.parametrize("numbers", ["[1, 2, 3]", "[1e999, 1, 1, 1, 1, 1, 1, 1, 1]", "[]", "7", "['1'] * 9"])
def test_a_written_box_that_is_none_hits_nothing(numbers: str) -> None:
    truth = [{"label": "chair", "bbox_3d": [1.0] * 9}]
    answer = f'{{"label": "chair", "bbox_3d": {numbers}}}'
    counts = score("threedod", [{"boxes": truth, "prediction": answer}])["per_sample"][0]["counts"]["chair"]
    assert (counts["tp"], counts["fn"]) == (0, 1)
    assert counts["fp"] == ("*" not in numbers)  # a product is not worked out, so nothing was predicted


def test_a_true_box_that_is_none_is_missed() -> None:
    answer = '{"label": "chair", "bbox_3d": [1, 1, 1, 1, 1, 1, 1, 1, 1]}'
    sample = {"boxes": [{"label": "chair", "bbox_3d": None}], "prediction": answer}
    counts = score("threedod", [sample])["per_sample"][0]["counts"]["chair"]
    assert counts == {"tp": 0, "fp": 1, "fn": 1}


def test_the_gate_of_captions_is_at_least_one_half_or_more_than_it() -> None:
    sample = {"prediction": "a chair", "annotations": ["a chair"], "iou": 0.5}
    assert score("scan2cap/vega", [sample])["per_sample"][0]["gated_prediction"] == "a chair"
    assert score("scan2cap/leo", [sample])["per_sample"][0]["wrapped_prediction"] == "sos a chair eos"
    official = score("scan2cap/official", [sample])
    assert official["per_sample"][0]["paper@0.5"]["bleu1"] < official["per_sample"][0]["paper@0.25"]["bleu1"]


def test_a_box_in_place_of_an_iou_gates_a_caption_as_vega_3d_stores_it() -> None:
    sample = {"prediction": "a chair", "annotations": ["a chair"], "gt_box": [0, 0, 0, 1, 1, 1]}
    boxes = [[0, 0, 0, 1, 1, 1.2], [3, 0, 0, 1, 1, 1], None]
    result = score("scan2cap/vega", [{**sample, "box_input": box} for box in boxes])
    assert [row["gated_prediction"] for row in result["per_sample"]] == ["a chair", "", ""]
    assert result["problems"] == {}


def test_captions_and_references_that_a_file_does_not_bring_are_made_as_published() -> None:
    golden = document("scan2cap__official")
    made = {"candidate", "reference_corpus_full", "reference_corpus_30"}
    bare = [{name: value for name, value in s.items() if name not in made} for s in golden["samples"]]
    for sample in golden["samples"]:
        assert scan2cap.wrapped_tokens(sample["prediction"]) == sample["candidate"]
    given, derived = score("scan2cap/official", golden["samples"]), score("scan2cap/official", bare)
    assert derived["aggregate_percent"] == given["aggregate_percent"]


def test_long_references_are_cut_to_thirty_tokens_in_the_paper_form_only() -> None:
    caption = " ".join(f"w{n}" for n in range(40))
    short = " ".join(caption.split()[:30])
    sample = {"prediction": short, "annotations": [caption], "iou": 1.0}
    row = score("scan2cap/official", [sample])["per_sample"][0]
    assert row["paper@0.5"]["rouge_l"] == pytest.approx(1.0)
    assert row["ungated"]["rouge_l"] < 1.0


def test_a_caption_without_an_iou_was_not_found() -> None:
    sample = {"prediction": "a chair", "annotations": ["a chair"]}
    assert score("scan2cap/vega", [sample])["per_sample"][0]["gated_prediction"] == ""
    assert scan2cap.overlap({"iou": float("nan")}) == 0.0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_scorer_runs_what_a_model_wrote(name: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    call = f"open({str(trap)!r}, 'w')"
    answers = [
        call,
        f'{{"frame": {call}, "bbox_3d": [0, 0, 0, 1, 1, 1, 0, 0, 0]}}',
        f'{{"label": "chair", "bbox_3d": [{call}]}}',
        f"$(touch {trap}) ; touch {trap} | `touch {trap}`",
        f"||| {call} ||| \n EVAL ||| touch {trap}",
    ]
    file = next((f for f, (t, _) in FILES.items() if t == name), "scanrefer__textbox")
    golden = document(file)["samples"][:3]
    samples = [{**sample, "prediction": a, "pred_response": a} for sample in golden for a in answers]
    assert score(name, samples)["n"] == len(samples)
    assert not trap.exists()


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(
    "unit", ["A", " ", "7", "answer ", "[", "-", "bbox_3d\n", "no ", "(", "\u2028", "{'label':"]
)
def test_ten_megabytes_of_answer_are_cut_and_scored(name: str, unit: str) -> None:
    file = next((f for f, (t, _) in FILES.items() if t == name), "vsibench")
    answer = unit * (10_000_000 // len(unit))
    sample = {**document(file)["samples"][0], "prediction": answer}
    if "pred_response" in sample:
        sample["pred_response"] = answer
    result = score(name, [sample])
    assert len(result["per_sample"]) == 1
    assert len(str(result)) < 20 * MAX_ANSWER
