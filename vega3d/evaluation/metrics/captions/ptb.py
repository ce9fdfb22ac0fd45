"""The Penn Treebank tokenizer of coco-caption: lower case, punctuation tokens dropped.

Stanford CoreNLP 3.4.1 from pycocoevalcap's jar, one process for all texts of a call. The list of dropped
tokens has ``-LRB-`` in capitals while the tokenizer lower-cases, so brackets survive as ``-lrb-``: as
published.
"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation.metrics.captions.java import Unavailable, one_line, package_file, run

_PUNCTUATION = "'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;"
DROPPED = frozenset(_PUNCTUATION.split())
TIMEOUT = 600.0
_JAR = ("tokenizer", "stanford-corenlp-3.4.1.jar")


def ptb_tokenize(sentences: Sequence[str]) -> list[str]:
    """Each text as its tokens, joined by single spaces.

    Raises:
        Unavailable: no Java, no pycocoevalcap, or the tokenizer failed.
    """
    if not sentences:
        return []
    arguments = ["-cp", str(package_file(*_JAR)), "edu.stanford.nlp.process.PTBTokenizer"]
    lines = run(
        [*arguments, "-preserveLines", "-lowerCase"], [one_line(s) for s in sentences], timeout=TIMEOUT
    )
    if len(lines) < len(sentences):
        raise Unavailable(f"the tokenizer returned {len(lines)} lines for {len(sentences)} texts")
    return [
        " ".join(w for w in line.rstrip().split(" ") if w not in DROPPED) for line in lines[: len(sentences)]
    ]
