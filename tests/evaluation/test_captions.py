"""Caption metrics: what can be computed is, what cannot is named, no text upsets the programs behind them.

Where Java is not installed, the tests of its programs check that they are reported as unavailable instead.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.evaluation.golden import document
from tests.evaluation.strategies import ANSWERS
from vega3d.evaluation import score
from vega3d.evaluation.metrics import java
from vega3d.evaluation.metrics.captions import MAX_WORDS, METRICS, score_corpus
from vega3d.evaluation.metrics.java import Unavailable, one_line, ptb_tokenize
from vega3d.evaluation.metrics.means import percents

HAS_JAVA = shutil.which("java") is not None
REFERENCES = [["a chair by the door", "the chair"], ["two lamps"]]
CANDIDATES = ["a chair by the wall", "two lamps"]


@pytest.fixture
def fresh_meteor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No program is kept from before, and none is kept afterwards."""
    program = cache(java._program.__wrapped__)
    monkeypatch.setattr(java, "_program", program)
    yield
    if program.cache_info().currsize:
        program(java.package_file("meteor", "meteor-1.5.jar")).close()


def fake_java(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def odd_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of characters from all over Unicode, line breaks and separators among them."""
    rng = random.Random(seed)
    planes = [
        (0, 0x7F),
        (0x80, 0x2FF),
        (0x2000, 0x206F),
        (0x3000, 0x30FF),
        (0xD800, 0xDFFF),
        (0x1F300, 0x1FAFF),
    ]
    texts = []
    for _ in range(count):
        low, high = rng.choice(planes)
        characters = [chr(rng.randint(low, high)) for _ in range(rng.randint(0, 12))]
        texts.append(rng.choice(["", " ", "a "]).join([*characters, rng.choice(ANSWERS)]))
    return texts


def test_without_java_only_meteor_is_missing_and_it_is_null(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scores = score_corpus(REFERENCES, CANDIDATES)
    assert set(scores.unavailable) == {"METEOR"}
    assert "Java is not installed" in scores.unavailable["METEOR"]
    assert scores.corpus["METEOR"] is None
    assert percents(scores.corpus)["METEOR"] is None
    assert all(row["meteor"] is None for row in scores.per_sample)
    assert all(scores.corpus[name] is not None for name in METRICS if name != "METEOR")


def test_without_java_the_official_scanqa_still_has_its_exact_matches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    golden = document("scanqa__official")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = score("scanqa/official", golden["samples"])
    assert set(result["unavailable"]) == {*METRICS, "SPICE"}
    expected = golden["expected"]["aggregate_percent"]
    assert result["aggregate_percent"] == dict.fromkeys(METRICS) | {
        name: pytest.approx(expected[name], abs=1e-9) for name in ("EM@1", "EM@10")
    }


def test_the_official_scanqa_on_the_published_tokens_needs_no_java(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    golden = document("scanqa__official")
    rows = golden["expected"]["per_sample"]
    tokens = [row["tokenized_prediction"] for row in rows] + [
        t for row in rows for t in row["tokenized_answers"]
    ]
    monkeypatch.setattr("vega3d.evaluation.benchmarks.scanqa.ptb_tokenize", lambda texts: tokens)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = score("scanqa/official", golden["samples"])
    for name, value in golden["expected"]["aggregate_percent"].items():
        if name != "METEOR":
            assert result["aggregate_percent"][name] == pytest.approx(value, abs=1e-6)


def test_without_pycocoevalcap_every_metric_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    scores = score_corpus(REFERENCES, CANDIDATES)
    assert set(scores.unavailable) == set(METRICS)
    assert all(
        "vega3d[captions]" in reason for name, reason in scores.unavailable.items() if name != "METEOR"
    )
    assert set(scores.corpus.values()) == {None}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "ended"),
        ("while read line; do echo nonsense; done", "METEOR failed"),
        ("sleep 60", "no answer within"),
        ("cat >/dev/null; sleep 60", "no answer within"),
    ],
)
def test_a_program_that_breaks_makes_meteor_unavailable_and_nothing_else(
    script: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_meteor: None
) -> None:
    fake_java(tmp_path / "bin", script, monkeypatch)
    monkeypatch.setattr(java, "METEOR_TIMEOUT", 0.5)
    scores = score_corpus(REFERENCES, CANDIDATES)
    assert set(scores.unavailable) == {"METEOR"}
    assert reason in scores.unavailable["METEOR"]
    assert scores.corpus["CIDEr"] is not None


@pytest.mark.parametrize("script", ["exit 1", "echo one; cat >/dev/null"])
def test_a_tokenizer_that_breaks_is_unavailable(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(Unavailable):
        ptb_tokenize(["a", "b", "c"])


def test_a_tokenizer_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path / "bin", "exec sleep 60", monkeypatch)
    monkeypatch.setattr(java, "PTB_TIMEOUT", 0.5)
    with pytest.raises(Unavailable, match="no answer within"):
        ptb_tokenize(["a"])


def _real_programs_hold(count: int) -> None:
    texts = odd_texts(count)
    if not HAS_JAVA:
        with pytest.raises(Unavailable, match="Java"):
            ptb_tokenize(texts)
        assert "METEOR" in score_corpus([["a"]] * count, texts).unavailable
        return
    tokens = ptb_tokenize([*texts, "the last one"])
    assert len(tokens) == count + 1
    assert tokens[-1] == "the last one"  # no line was lost or split before it
    references = [[text, "a chair"] for text in texts[::-1]]
    scores = score_corpus([*references, ["a chair"]], [*texts, "a chair"])
    assert not scores.unavailable
    assert all(0 <= (row["meteor"] or 0) <= 1 for row in scores.per_sample)
    assert scores.per_sample[-1]["meteor"] == pytest.approx(1.0)  # still in step


def test_no_text_brings_tokenizer_or_meteor_out_of_step() -> None:
    _real_programs_hold(500)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_none_of_very_many_texts_does() -> None:
    _real_programs_hold(20_000)


def test_the_separator_of_the_protocol_is_no_part_of_a_text() -> None:
    plain = score_corpus([["a chair"], ["two lamps"]], ["a chair", "two"])
    split = score_corpus([["a ||| chair"], ["two lamps"]], ["a ||| chair", "||| two"])
    assert [row["meteor"] for row in split.per_sample] == [row["meteor"] for row in plain.per_sample]
    assert ("METEOR" in plain.unavailable) != HAS_JAVA


def test_a_locale_with_decimal_commas_changes_no_number(
    monkeypatch: pytest.MonkeyPatch, fresh_meteor: None
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de")
    scores = score_corpus(REFERENCES, CANDIDATES)
    assert (scores.corpus["METEOR"] is not None) == HAS_JAVA


def test_a_text_is_one_line_for_every_reader() -> None:
    for character in map(chr, [*range(0x3000)]):
        assert len(one_line(f"a{character}b").splitlines()) == 1


def test_a_sample_without_references_is_left_out_of_the_corpus() -> None:
    alone = score_corpus(REFERENCES, CANDIDATES)
    more = score_corpus([REFERENCES[0], [], REFERENCES[1]], [CANDIDATES[0], "anything", CANDIDATES[1]])
    assert more.corpus == alone.corpus
    assert set(more.per_sample[1].values()) == {None}
    assert [more.per_sample[0], more.per_sample[2]] == alone.per_sample


def test_a_corpus_without_any_reference_has_no_scores_and_no_reasons() -> None:
    scores = score_corpus([[], []], ["a", "b"])
    assert set(scores.corpus.values()) == {None}
    assert not scores.unavailable


def test_references_without_words_give_cider_0_and_no_error() -> None:
    assert score_corpus([[""], [" "]], ["a", ""]).corpus["CIDEr"] == 0.0


def test_a_corpus_of_one_has_cider_0_as_published() -> None:
    assert score_corpus([["a chair"]], ["a chair"]).corpus["CIDEr"] == 0.0


def test_words_beyond_the_limit_change_nothing() -> None:
    long = "a chair " * MAX_WORDS
    whole = score_corpus(REFERENCES, [long, "two lamps"])
    cut = score_corpus(REFERENCES, [" ".join(long.split(" ")[:MAX_WORDS]), "two lamps"])
    assert whole == cut
