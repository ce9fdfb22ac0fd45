"""No record stops a scorer, scores stay in range, and the order of samples does not matter; for every task.

Java is left out of these runs, since each example would start it: METEOR is unavailable here and the
tokenizer splits at blanks. `test_captions` puts the same kind of texts through the real programs.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.golden import PROTOCOLS
from tests.evaluation.strategies import samples
from vega3d.evaluation import protocol_names, score
from vega3d.evaluation.metrics.java import Unavailable

EXAMPLES, MANY = 500, 20_000
IN_PERCENT = ("aggregate_percent", "aggregate_x100", "official_llm_script_accuracy_percent")
NO_SCORES = {"id", "idx", "question_id", "pred_bbox", "refined_bbox", "extract_number", "counts", "selected"}
ABOUT = {"task", "task_version", "protocol", "sources", "vega3d", "unavailable"}
NO_SCORES |= {"problems", "selection", "n", "tp", "fp", "fn"}


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> None:
        raise Unavailable("left out of this test")

    monkeypatch.setattr("vega3d.evaluation.metrics.captions.meteor", unavailable)
    monkeypatch.setattr(
        "vega3d.evaluation.benchmarks.scanqa.ptb_tokenize",
        lambda texts: [" ".join(t.lower().split()) for t in texts],
    )


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number, text or null of a JSON value that is a score, with the names above it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in NO_SCORES:
                yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def highest(path: tuple[str, ...]) -> float:
    """The largest value that a score may have; CIDEr reaches 10, everything else 1."""
    ten = 10.0 if path[-1].lower() == "cider" else 1.0
    return ten * (100.0 if path[0].startswith(IN_PERCENT) else 1.0)


def check(task: str, given_samples: list[Any]) -> dict[str, Any]:
    """Score and check what every output promises."""
    result = score(task, given_samples)
    json.loads(json.dumps(result, allow_nan=False))
    assert result["task"] == task
    assert result["n"] == len(given_samples)
    assert len(result["per_sample"]) == len(given_samples) or "debiased" in task
    for path, value in leaves(result):
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert math.isfinite(value)
            assert 0 <= value <= highest(path) * (1 + 1e-9), (path, value)
    return result


def aggregates(result: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """The part of a result about all samples together."""
    return {path: value for path, value in leaves(result) if not {"per_sample", "extract_number"} & {*path}}


def alike(one: Any, other: Any) -> bool:
    """Equal, up to the last digits of a number: document frequencies add up in another order."""
    return bool(one == (pytest.approx(other, abs=1e-9) if isinstance(other, float) else other))


def hold(task: str, given_samples: list[Any], seed: int) -> None:
    """Check a result, and that shuffled samples give the same one in another order."""
    result = check(task, given_samples)
    order = list(range(len(given_samples)))
    random.Random(seed).shuffle(order)
    shuffled = check(task, [given_samples[n] for n in order])
    before, after = aggregates(result), aggregates(shuffled)
    assert before.keys() == after.keys()
    assert all(alike(before[path], value) for path, value in after.items())
    if "debiased" not in task:  # there, pruned samples have no row
        rows = [list(leaves(result["per_sample"][n])) for n in order]
        for row, other in zip(rows, (list(leaves(r)) for r in shuffled["per_sample"]), strict=True):
            assert [path for path, _ in row] == [path for path, _ in other]
            assert all(alike(x, y) for (_, x), (_, y) in zip(row, other, strict=True))


def test_every_built_in_task_is_fuzzed() -> None:
    assert set(PROTOCOLS) <= set(protocol_names())


@pytest.mark.parametrize("task", PROTOCOLS)
def test_whatever_a_record_holds_scores_are_in_range_and_in_no_order(task: str) -> None:
    @given(samples(task), st.integers(0, 2**32))
    @settings(max_examples=EXAMPLES)
    def run(given_samples: list[Any], seed: int) -> None:
        hold(task, given_samples, seed)

    run()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", PROTOCOLS)
def test_whatever_very_many_records_hold(task: str) -> None:
    @given(samples(task), st.integers(0, 2**32))
    @settings(max_examples=MANY)
    def run(given_samples: list[Any], seed: int) -> None:
        hold(task, given_samples, seed)

    run()


@pytest.mark.parametrize("task", PROTOCOLS)
def test_no_samples_give_no_scores_and_no_zeros(task: str) -> None:
    result = check(task, [])
    assert result["per_sample"] == []
    scores = {path: value for path, value in leaves(result) if path[0] not in ABOUT}
    assert all(value is None or value == 0 for value in scores.values())
    assert not any(isinstance(value, float) for value in scores.values())
