"""ScanQA: short answers about a scanned room, against the answers of several people.

Three protocols that share only their n-gram metrics. ``vega``: no tokenizer, no lower-casing, EM of the
stripped answer. ``official``: PTB tokens on both sides, EM@1 and EM@10 of raw strings. ``leo``: both sides
cleaned, EM and EM-R. The EM of one protocol does not compare with that of another.

Beyond the reference: an answer without references counts as wrong and is left out of the n-gram corpus; EM@10
is null unless a sample brings ``prediction_top10``.
The true answers of its test splits are not public, so the validation split is what papers report.
Source: ATR-DBI/ScanQA ``scripts/score.py``; H-EmbodVis/VEGA-3D (main) ``llava/eval/eval_scanqa.py``;
Video-3D-LLM's runner (32 frames, 512 new tokens); embodied-generalist ``evaluator/scanqa_eval.py``;
ZCMax/LLaVA-3D ``llava/eval/scanqa_evaluator.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores
from vega3d.evaluation.benchmarks._scannet import LAYOUT, TERMS, samples_of_scenes
from vega3d.evaluation.files import Folder, identifier, rows_of, scene_name, sentence
from vega3d.evaluation.metrics.answers import any_match, clean, ordered_match
from vega3d.evaluation.metrics.captions import METRICS, CorpusScores, score_corpus
from vega3d.evaluation.metrics.java import Unavailable, ptb_tokenize
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, Record, add_ids, is_text, is_texts, mappings, text, texts

FILES = ("ScanQA_v1.0_val.json", "benchmark/scanqa/ScanQA_v1.0_val.json")
ID = "question_id"
REQUIRED = (scene_name("scene_id"), sentence("question"))
NO_SPICE = "it needs a download of 385 MB that vega3d never starts"


def read(folder: Folder) -> list[Sample]:
    """Questions of ``ScanQA_v1.0_val.json`` about scenes below ``scannet/``."""
    rows = rows_of(folder.first(*FILES), REQUIRED, (identifier(ID),), unique=(ID,))
    return samples_of_scenes(folder, rows, ID, kind=lambda row: row["question"].split()[0].lower())


def prompt(record: Record) -> str:
    """The text that VEGA-3D and Video-3D-LLM send."""
    return f"{text(record, 'question')} Answer the question simply."


def score_vega(samples: Sequence[object]) -> Scores:
    """VEGA-3D / Video-3D-LLM."""
    records, predictions, answers = _answered(samples)
    stripped = [prediction.strip() for prediction in predictions]
    scores = score_corpus(answers, [answer.rstrip(".") for answer in stripped])
    matches = [{"em": int(answer in truth)} for answer, truth in zip(stripped, answers, strict=True)]
    return _scores(records, scores, matches, {"EM": "em"})


def score_official(samples: Sequence[object]) -> Scores:
    """ScanQA's own script; without Java only EM can be computed."""
    records, predictions, answers = _answered(samples)
    matches: list[dict[str, Any]] = [
        {"em1": int(p in truth), "em10": _em10(record, truth)}
        for record, p, truth in zip(records, predictions, answers, strict=True)
    ]
    try:
        tokens = iter(ptb_tokenize([*predictions, *chain.from_iterable(answers)]))
        candidates = [next(tokens) for _ in predictions]
        truths = [[next(tokens) for _ in truth] for truth in answers]
        scores = score_corpus(truths, candidates)
        for match, candidate, truth in zip(matches, candidates, truths, strict=True):
            match |= {"tokenized_prediction": candidate, "tokenized_answers": truth}
    except Unavailable as reason:
        nothing = score_corpus([[] for _ in records], predictions)
        scores = replace(nothing, unavailable=dict.fromkeys(METRICS, f"PTB tokenizer: {reason}"))
    joined = _scores(records, scores, matches, {"EM@1": "em1", "EM@10": "em10"})
    return replace(joined, unavailable={**joined.unavailable, "SPICE": NO_SPICE})


def score_leo(samples: Sequence[object]) -> Scores:
    """LEO; the values over all answers, as LLaVA-3D counts, stand beside it under names of their own."""
    records, raw_predictions, raw_answers = _answered(samples)
    predictions = [clean(prediction) for prediction in raw_predictions]
    answers = [[clean(answer) for answer in truth] for truth in raw_answers]
    matches: list[dict[str, Any]] = []
    for prediction, truth in zip(predictions, answers, strict=True):
        (em, em_r), (any_em, any_em_r) = ordered_match(prediction, truth), any_match(prediction, truth)
        match = {"cleaned_prediction": prediction, "cleaned_answers": truth, "em": em, "em_r": em_r}
        matches.append(match | {"em_order_independent": any_em, "em_r_order_independent": any_em_r})
    names = {"EM": "em", "EM-R": "em_r"}
    names |= {f"{table}_order_independent": f"{short}_order_independent" for table, short in names.items()}
    return _scores(records, score_corpus(answers, predictions), matches, names)


def _answered(samples: Sequence[object]) -> tuple[list[Record], list[str], list[list[str]]]:
    """Records, the model's answers as they stand in them, and the answers of people."""
    records = mappings(samples)
    predictions = [text(record, "prediction", "pred_response") for record in records]
    return records, predictions, [texts(r, "answers") or texts(r, "gt_response") for r in records]


def _scores(
    records: Sequence[Record], corpus: CorpusScores, matches: Sequence[dict[str, Any]], names: dict[str, str]
) -> Scores:
    """Join n-gram metrics with matches; ``names`` maps a table's name to a sample's."""
    exact = {table: mean(match[short] for match in matches) for table, short in names.items()}
    printed = ("CIDEr", "BLEU-4", "METEOR", *(n for n in names if not n.endswith("_order_independent")))
    return corpus.scores(add_ids(records, matches, ID), printed, exact)


def _em10(record: Record, answers: Sequence[str]) -> int | None:
    """1 if any of the first ten guesses is an answer, else 0; None without guesses."""
    if "prediction_top10" not in record:
        return None
    return int(any(guess in answers for guess in texts(record, "prediction_top10")[:10]))


VEGA = Protocol(
    name="scanqa/vega",
    rules="BLEU, METEOR, ROUGE-L, CIDEr on whitespace tokens without lower-casing, final dots of the answer"
    " dropped; EM: stripped answer among the raw answers",
    sources=("github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_scanqa.py",),
    fields=(
        Field("prediction", is_text, "the model's answer", ("pred_response",)),
        Field("answers", is_texts, "the answers of people", ("gt_response",)),
    ),
    prompt=prompt,
    score=score_vega,
    sample_score="em",
)
OFFICIAL = replace(
    VEGA,
    name="scanqa/official",
    rules="PTB tokenizer on both sides, then BLEU, METEOR, ROUGE-L, CIDEr; EM@1 and EM@10 on raw strings",
    sources=("github.com/ATR-DBI/ScanQA scripts/score.py",),
    score=score_official,
    sample_score="em1",
)
LEO = replace(
    VEGA,
    name="scanqa/leo",
    rules="both sides cleaned; EM, and EM-R (containment either way); LEO stops at the first answer that "
    "matches, *_order_independent looks at all (LLaVA-3D)",
    sources=(
        "github.com/embodied-generalist/embodied-generalist evaluator/scanqa_eval.py",
        "github.com/ZCMax/LLaVA-3D llava/eval/scanqa_evaluator.py",
    ),
    score=score_leo,
)
BENCHMARK = Benchmark(
    name="scanqa",
    title="ScanQA",
    protocols=(VEGA, OFFICIAL, LEO),
    read=read,
    official=4675,
    max_new_tokens=512,
    layout=f"{FILES[0]} or {FILES[1]}; {LAYOUT}",
    source="github.com/ATR-DBI/ScanQA (docs/dataset.md); www.scan-net.org for the scenes; "
    "or `vega3d rooms export`",
    license=f"questions CC BY-NC-SA 3.0; {TERMS}",
    truth="answers",
)
