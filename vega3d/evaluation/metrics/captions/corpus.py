"""All caption metrics of one corpus: for each sample, for the corpus, and which are unavailable and why.

A text is cut to `MAX_WORDS` words first: more than any protocol lets a model write, and ROUGE-L and METEOR
take time with the square of it. A sample without references is left out of the corpus and has no scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vega3d.evaluation.metrics.captions.java import Unavailable, package_module
from vega3d.evaluation.metrics.captions.meteor import meteor

NO_SPICE = "it needs a download of 385 MB that vega3d never starts"
MAX_WORDS = 1_000
MAX_REFERENCES = 100  # of one sample
# name in a table, name in a sample
METRICS = {
    "BLEU-1": "bleu1",
    "BLEU-2": "bleu2",
    "BLEU-3": "bleu3",
    "BLEU-4": "bleu4",
    "CIDEr": "cider",
    "METEOR": "meteor",
    "ROUGE-L": "rouge_l",
}
_Scorer = Callable[[list[list[str]], list[str]], dict[str, tuple[float, list[float]]]]


@dataclass(frozen=True)
class CorpusScores:
    """Scores of a corpus of n samples.

    Attributes:
        per_sample: (n,) scores by short name (``bleu4``, ``cider``, ...); None where there is none.
        corpus: scores by table name (``BLEU-4``, ``CIDEr``, ...), fractions; None where there is none.
        unavailable: why, by table name.
    """

    per_sample: list[dict[str, float | None]]
    corpus: dict[str, float | None]
    unavailable: dict[str, str] = field(default_factory=dict)

    def percent(self) -> dict[str, float | None]:
        """The corpus scores x100, as they are printed in tables."""
        return {name: None if score is None else 100 * score for name, score in self.corpus.items()}


def score_corpus(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> CorpusScores:
    """BLEU-1..4, CIDEr, METEOR and ROUGE-L of texts whose tokens are separated by blanks.

    Args:
        references: (n,) lists of texts; document frequencies of CIDEr come from these.
        candidates: (n,) texts.
    """
    used = [n for n, texts in enumerate(references) if texts]
    truth = [[_cut(text) for text in references[n][:MAX_REFERENCES]] for n in used]
    answers = [_cut(candidates[n]) for n in used]
    per_sample: list[dict[str, float | None]] = [dict.fromkeys(METRICS.values()) for _ in candidates]
    corpus: dict[str, float | None] = dict.fromkeys(METRICS)
    unavailable: dict[str, str] = {}
    for names, scorer in _SCORERS if used else ():
        try:
            scores = scorer(truth, answers)
        except Unavailable as reason:
            unavailable |= dict.fromkeys(names, str(reason))
            continue
        for name, (total, each) in scores.items():
            corpus[name] = _finite(total)
            for n, score in zip(used, each, strict=True):
                per_sample[n][METRICS[name]] = _finite(score)
    return CorpusScores(per_sample, corpus, unavailable)


def no_corpus(count: int, reason: str) -> CorpusScores:
    """The scores of ``count`` samples when no metric could be computed."""
    nothing: list[dict[str, float | None]] = [dict.fromkeys(METRICS.values()) for _ in range(count)]
    return CorpusScores(nothing, dict.fromkeys(METRICS), dict.fromkeys(METRICS, reason))


def _cut(text: str) -> str:
    words = text.split(" ")
    return text if len(words) <= MAX_WORDS else " ".join(words[:MAX_WORDS])


def _finite(score: float) -> float | None:
    return float(score) if math.isfinite(score) else None


def _bleu(references: list[list[str]], candidates: list[str]) -> dict[str, tuple[float, list[float]]]:
    scorer = package_module("bleu.bleu_scorer").BleuScorer(n=4)
    for texts, candidate in zip(references, candidates, strict=True):
        scorer += (candidate, texts)
    totals, each = scorer.compute_score(option="closest", verbose=0)
    return {f"BLEU-{n + 1}": (totals[n], each[n]) for n in range(4)}


def _cider(references: list[list[str]], candidates: list[str]) -> dict[str, tuple[float, list[float]]]:
    scorer = package_module("cider.cider").Cider()
    if not any(text.split() for texts in references for text in texts):
        return {"CIDEr": (0.0, [0.0] * len(candidates))}  # no word to weigh: the package raises
    return {"CIDEr": scorer.compute_score(*_by_number(references, candidates))}


def _rouge(references: list[list[str]], candidates: list[str]) -> dict[str, tuple[float, list[float]]]:
    scorer = package_module("rouge.rouge").Rouge()
    return {"ROUGE-L": scorer.compute_score(*_by_number(references, candidates))}


def _meteor(references: list[list[str]], candidates: list[str]) -> dict[str, tuple[float, list[float]]]:
    return {"METEOR": meteor(references, candidates)}


def _by_number(
    references: list[list[str]], candidates: list[str]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    return dict(enumerate(references)), {n: [candidate] for n, candidate in enumerate(candidates)}


_SCORERS: tuple[tuple[tuple[str, ...], _Scorer], ...] = (
    (("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"), _bleu),
    (("CIDEr",), _cider),
    (("METEOR",), _meteor),
    (("ROUGE-L",), _rouge),
)
