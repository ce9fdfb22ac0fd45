"""Caption metrics over a corpus: BLEU, METEOR, ROUGE-L and CIDEr.

Decision: pycocoevalcap computes them, since every published table here does (same code, same METEOR jar). It
is an optional extra, METEOR and the PTB tokenizer need Java, SPICE needs a download of 385 MB that is never
started from here. What cannot be computed is *unavailable*: its value is None and the reason is given. It is
never zero, and it never stops the metrics that can be computed.
"""

from __future__ import annotations

from vega3d.evaluation.metrics.captions.corpus import CorpusScores, score_corpus
from vega3d.evaluation.metrics.captions.ptb import ptb_tokenize

__all__ = ["CorpusScores", "ptb_tokenize", "score_corpus"]
