"""Every protocol gives the numbers of the code that published it, sample by sample and in the aggregates."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.evaluation.golden import EXACT, FILES, FOLDER, NOT_SCORES, document, path
from vega3d.evaluation import score_file

NEEDS_JAVA = {"METEOR", "meteor"}
NEEDS_TOKENIZER = NEEDS_JAVA | {*(f"BLEU-{n}" for n in range(1, 5)), "CIDEr", "ROUGE-L"}
NEEDS_TOKENIZER |= {*(f"bleu{n}" for n in range(1, 5)), "cider", "rouge_l"}
NEEDS_TOKENIZER |= {"tokenized_prediction", "tokenized_answers"}


def differences(expected: Any, got: Any, tolerance: float, absent: set[str], where: str = "") -> list[str]:
    """Places where two JSON values differ; a name in ``absent`` has to be null or missing in ``got``."""
    if isinstance(expected, dict):
        found = []
        for name, value in expected.items():
            if name in absent:
                found += [f"{where}.{name} should be null"] if got.get(name) is not None else []
            elif name not in got:
                found.append(f"{where}.{name} is missing")
            else:
                found += differences(value, got[name], tolerance, absent, f"{where}.{name}")
        return found
    if isinstance(expected, list):
        if len(expected) != len(got):
            return [f"{where} has {len(got)} entries, not {len(expected)}"]
        pairs = enumerate(zip(expected, got, strict=True))
        return [d for n, (e, g) in pairs for d in differences(e, g, tolerance, absent, f"{where}[{n}]")]
    if isinstance(expected, float) and isinstance(got, int | float) and not isinstance(got, bool):
        return [] if abs(expected - got) <= max(tolerance, EXACT) else [f"{where}: {got}, not {expected}"]
    return [] if expected == got else [f"{where}: {got!r}, not {expected!r}"]


def test_no_golden_file_is_left_out() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_golden_file_is_scored_as_the_published_code_scored_it(file: str) -> None:
    task, tolerance = FILES[file]
    expected = {k: v for k, v in document(file)["expected"].items() if k not in NOT_SCORES}
    result = score_file(task, path(file))
    absent = set(NOT_SCORES)
    if shutil.which("java") is None:  # then what needs Java is named, and the rest still has to agree
        absent |= NEEDS_TOKENIZER if task == "scanqa/official" else NEEDS_JAVA
        uses_java = task.startswith(("scanqa", "scan2cap"))
        assert ("METEOR" in result["unavailable"]) == uses_java
    else:
        assert set(result["unavailable"]) <= {"SPICE"}
    assert not differences(expected, result, tolerance, absent)


@pytest.mark.parametrize("file", FILES)
def test_a_golden_file_has_no_problems(file: str) -> None:
    result = score_file(FILES[file][0], path(file))
    assert result["problems"] == {}


def test_a_difference_is_found() -> None:
    expected = {"a": [1.0, {"b": True}], "c": None}
    assert not differences(expected, {"a": [1.0, {"b": True}], "c": None, "d": 1}, 0.0, set())
    assert differences(expected, {"a": [1.1, {"b": True}], "c": None}, 0.01, set())
    assert differences(expected, {"a": [1.0, {"b": False}], "c": None}, 0.0, set())
    assert differences(expected, {"a": [1.0, {}], "c": None}, 0.0, set())
    assert differences(expected, {"a": [1.0, {"b": True}], "c": 0}, 0.0, {"c"})
