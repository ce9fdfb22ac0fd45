"""The letter of an option in an answer: three published ways, one for each protocol.

Sources: VG-LLM / VEGA-3D ``tasks/cvbench`` and ``tasks/blink`` (one rule), lmms-eval 0.7.3 ``tasks/cv_bench``
and ``tasks/blink`` (two rules). All patterns run in linear time: blanks are matched possessively.
"""

from __future__ import annotations

import re

# The last two are what a missing comma made of four phrases: kept, since they decide what is *not* removed.
_PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
_CAPITAL = re.compile("[ABCDEF]")
_LEADING = re.compile(r"[(\s]*+([A-Z])", re.IGNORECASE)


def first_capital(answer: str) -> str:
    """VG-LLM: the first of A to F anywhere once fixed phrases are gone, or ``""``; "Because" is B."""
    answer = answer.strip()
    for phrase in _PHRASES:
        answer = answer.replace(phrase, "")
    letter = _CAPITAL.search(answer)
    return letter[0] if letter else ""


def leading_letter(answer: str) -> str:
    """lmms-eval's CV-Bench: the letter at the start, of any case, or ``""``; "The answer is B" is T."""
    letter = _LEADING.match(answer.strip())
    return letter[1].upper() if letter else ""


def stated_letter(answer: str, count: int) -> str:
    """lmms-eval's BLINK: a stated, bracketed or leading letter among the first ``count``, or ``""``.

    In this order: a first line that is little but the letter; the last "answer is X"; the last "(X)"; a
    leading letter.
    """
    answer, letters = answer.strip(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: max(1, min(count, 26))]
    line = answer.split("\n", 1)[0].strip()
    alone = re.findall(rf"^\(?([{letters}])\)?[.\s:,)]*$", line, re.IGNORECASE) if len(line) <= 4 else []
    stated = re.findall(
        rf"answers?(?:\s++is)?\s*+[:\-]?\s*+\(?([{letters}])\)?(?![A-Za-z])", answer, re.IGNORECASE
    )
    bracketed = re.findall(rf"\(([{letters}])\)", answer)
    leading = re.findall(rf"^[(\s]*+([{letters}])", answer, re.IGNORECASE)
    letter: str = (alone or stated or bracketed or leading or [""])[-1]
    return letter.upper()


def truth_letter(answer: str) -> str:
    """The letter of an answer such as ``(B)``: its second character; a bare letter is taken as it is."""
    return answer[1:2] if answer.startswith("(") else answer[:1]
