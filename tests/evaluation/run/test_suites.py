"""Benchmarks are read in their published layouts, and their protocols read what they give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.run.fakes import samples_of, write_benchmark
from vega3d.errors import ConfigError, InputError
from vega3d.evaluation import load_benchmark, load_protocol, score
from vega3d.evaluation.run.standard_errors import macro_weights

SQA_QUESTIONS = "balanced/v1_balanced_questions_test_scannetv2.json"
SQA_ANSWERS = "balanced/v1_balanced_sqa_annotations_test_scannetv2.json"


def write(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def test_scene_names_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    questions = samples_of("vsibench/lmms-eval", write_benchmark(tmp_path))
    assert questions[4].media == tmp_path / "rooms" / "1.mp4"
    assert questions[4].scene == "rooms/1"


def test_the_macro_mean_is_the_published_overall(tmp_path: Path) -> None:
    benchmark = load_protocol("vsibench").benchmark
    questions = samples_of("vsibench", write_benchmark(tmp_path, scenes=3, per_scene=7))
    records = [{**q.record, "prediction": "4" if int(q.id) % 3 else "B"} for q in questions]
    scored = score("vsibench", records)
    weights = macro_weights([q.kind for q in questions], benchmark.groups)
    macro = sum(w * row["score"] for w, row in zip(weights, scored["per_sample"], strict=True))
    assert macro == pytest.approx(scored["aggregate_fraction"]["overall"])


def test_the_debiased_set_of_a_folder_that_marks_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which questions the debiased set leaves out"):
        samples_of("vsibench/debiased", write_benchmark(tmp_path))


def test_scanqa_is_read_with_its_answers_and_a_folder_of_pictures(tmp_path: Path) -> None:
    row = {
        "scene_id": "scene0015_00",
        "question_id": "val-1",
        "question": "What color?",
        "answers": ["brown"],
    }
    write(tmp_path / "ScanQA_v1.0_val.json", [row])
    (tmp_path / "scannet" / "scene0015_00").mkdir(parents=True)
    question = samples_of("scanqa/leo", tmp_path)[0]
    assert question.media == tmp_path / "scannet" / "scene0015_00"
    for protocol in ("scanqa/leo", "scanqa/vega"):
        scored = score(protocol, [{**question.record, "prediction": "brown"}])
        assert load_protocol(protocol).score_of(scored["per_sample"][0]) == 1


def test_sqa3d_joins_questions_with_their_answers(tmp_path: Path) -> None:
    ids = (220602000123, 7)
    rows = [
        {"question_id": i, "scene_id": "s", "situation": "I stand.", "question": "What is it?"} for i in ids
    ]
    write(tmp_path / SQA_QUESTIONS, {"questions": rows})
    write(
        tmp_path / SQA_ANSWERS, {"annotations": [{"question_id": ids[0], "answers": [{"answer": "a desk"}]}]}
    )
    protocol = load_protocol("sqa3d")
    (question,) = protocol.samples(tmp_path)
    assert protocol.prompt(question.record).startswith("I stand. What is it?")
    scored = score(protocol, [{**question.record, "prediction": "desk"}])
    assert protocol.score_of(scored["per_sample"][0]) == 1


def test_a_benchmark_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown benchmark 'imagenet'"):
        load_benchmark("imagenet")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"id": ', encoding="utf-8")
    with pytest.raises(InputError, match=r"Cannot read .*test\.jsonl"):
        samples_of("vsibench", tmp_path)
