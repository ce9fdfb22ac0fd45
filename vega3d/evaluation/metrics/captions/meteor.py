"""METEOR 1.5 through the jar of pycocoevalcap, one program for all corpora of a process.

The number of a corpus is the jar's own statistic over all segments, not the mean of the segments. Loading the
paraphrase table takes seconds, so the program is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vega3d.evaluation.metrics.captions.java import Conversation, Unavailable, java, one_line, package_file

TIMEOUT = 120.0
_kept: list[Conversation] = []
_lock = threading.Lock()


def meteor(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> tuple[float, list[float]]:
    """(corpus score, score of each candidate), all in 0..1.

    Args:
        references: (n,) lists of at least one text each.
        candidates: (n,) texts.

    Raises:
        Unavailable: no Java, no pycocoevalcap, or the program failed.
    """
    asked = [_question(texts, candidate) for texts, candidate in zip(references, candidates, strict=True)]
    with _lock:
        program = _program()
        try:
            statistics = program.ask(asked, len(asked), timeout=TIMEOUT)
            evaluation = " ||| ".join(["EVAL", *statistics])
            answers = program.ask([evaluation], len(asked) + 1, timeout=TIMEOUT)
            *each, corpus = [float(answer) for answer in answers]
        except (Unavailable, ValueError) as error:
            _forget(program)
            raise Unavailable(f"METEOR failed: {error}") from None
    return corpus, each


def _question(references: Sequence[str], candidate: str) -> str:
    """The request for one segment; the separator of the protocol is taken out of every text."""
    texts = [one_line(text).replace("|||", "") for text in references]
    return " ||| ".join(["SCORE", *texts, one_line(candidate).replace("|||", "").replace("  ", " ")])


def _program() -> Conversation:
    java()  # named first among what is missing
    jar = package_file("meteor", "meteor-1.5.jar")
    if not _kept:
        arguments = ["-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
        _kept.append(Conversation(arguments, jar.parent))
    return _kept[0]


def _forget(program: Conversation) -> None:
    program.close()
    if program in _kept:
        _kept.remove(program)
