"""Caption metrics over a corpus: BLEU, METEOR, ROUGE-L and CIDEr.

Decision: pycocoevalcap computes them, since every published table here does (same code, same METEOR jar). It
is an optional extra, METEOR and the PTB tokenizer need Java, SPICE needs a download of 385 MB that is never
started from here. What cannot be computed is *unavailable*: its value is None and the reason is given. It is
never zero, and it never stops the metrics that can be computed.

A text is cut to `MAX_WORDS` words first: more than any protocol lets a model write, and ROUGE-L and METEOR
take time with the square of it. A sample without references is left out of the corpus and has no scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vega3d.evaluation.benchmark import Scores, metrics
from vega3d.evaluation.metrics.java import Unavailable, meteor, package_module
from vega3d.evaluation.metrics.means import Means, percents
from vega3d.evaluation.records import Record

MAX_WORDS = 1_000
MAX_REFERENCES = 100  # of one sample
# name in a table, name in a sample
BLEU = {f"BLEU-{n}": f"bleu{n}" for n in range(1, 5)}
METRICS = {**BLEU, "CIDEr": "cider", "METEOR": "meteor", "ROUGE-L": "rouge_l"}
Texts = dict[int, list[str]]  # by number of the sample
Totals = dict[str, tuple[float, list[float]]]  # by table name: score of the corpus and of each sample


@dataclass(frozen=True)
class CorpusScores:
    """Scores of a corpus of n samples.

    Attributes:
        per_sample: (n,) scores by short name (``bleu4``, ``cider``, ...); None where there is none.
        corpus: scores by table name (``BLEU-4``, ``CIDEr``, ...), fractions; None where there is none.
        unavailable: why, by table name.
    """

    per_sample: list[Means]
    corpus: Means
    unavailable: dict[str, str]

    def scores(self, rows: Sequence[Record], printed: Iterable[str], exact: Means | None = None) -> Scores:
        """Scores of a protocol whose table is this corpus, x100.

        Args:
            rows: (n,) further values of the samples, before the scores.
            printed: names in the table that are printed.
            exact: further fractions of the table.
        """
        table = percents({**self.corpus, **(exact or {})})
        joined = [{**row, **ngrams} for row, ngrams in zip(rows, self.per_sample, strict=True)]
        numbers = metrics("aggregate_percent", table, printed, 100)
        return Scores(joined, {"aggregate_percent": table}, self.unavailable, numbers)


def score_corpus(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> CorpusScores:
    """BLEU-1..4, CIDEr, METEOR and ROUGE-L of texts whose tokens are separated by blanks.

    Args:
        references: (n,) lists of texts; document frequencies of CIDEr come from these.
        candidates: (n,) texts.
    """
    truth = {
        n: [_cut(text) for text in texts[:MAX_REFERENCES]] for n, texts in enumerate(references) if texts
    }
    answers = {n: [_cut(candidates[n])] for n in truth}
    per_sample: list[Means] = [dict.fromkeys(METRICS.values()) for _ in candidates]
    corpus: Means = dict.fromkeys(METRICS)
    unavailable: dict[str, str] = {}
    for names, scorer in _SCORERS if truth else ():
        try:
            scores = scorer(truth, answers)
        except Unavailable as reason:
            unavailable |= dict.fromkeys(names, str(reason))
            continue
        for name, (total, each) in scores.items():
            corpus[name] = _finite(total)
            for n, score in zip(truth, each, strict=True):
                per_sample[n][METRICS[name]] = _finite(score)
    return CorpusScores(per_sample, corpus, unavailable)


def _cut(text: str) -> str:
    words = text.split(" ")
    return text if len(words) <= MAX_WORDS else " ".join(words[:MAX_WORDS])


def _finite(score: float) -> float | None:
    return float(score) if math.isfinite(score) else None


def _bleu(references: Texts, candidates: Texts) -> Totals:
    totals, each = package_module("bleu.bleu").Bleu(4).compute_score(references, candidates, verbose=0)
    return {name: (totals[n], each[n]) for n, name in enumerate(BLEU)}


def _cider(references: Texts, candidates: Texts) -> Totals:
    scorer = package_module("cider.cider").Cider()
    if not any(text.split() for texts in references.values() for text in texts):
        return {"CIDEr": (0.0, [0.0] * len(candidates))}  # no word to weigh: the package raises
    return {"CIDEr": scorer.compute_score(references, candidates)}


def _rouge(references: Texts, candidates: Texts) -> Totals:
    return {"ROUGE-L": package_module("rouge.rouge").Rouge().compute_score(references, candidates)}


def _meteor(references: Texts, candidates: Texts) -> Totals:
    return {"METEOR": meteor([*references.values()], [text for [text] in candidates.values()])}


_SCORERS: tuple[tuple[tuple[str, ...], Callable[[Texts, Texts], Totals]], ...] = (
    (tuple(BLEU), _bleu),
    (("CIDEr",), _cider),
    (("METEOR",), _meteor),
    (("ROUGE-L",), _rouge),
)
