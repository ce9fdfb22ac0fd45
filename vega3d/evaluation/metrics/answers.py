"""Short free-text answers made comparable: LEO's and SQA3D's cleaning, and what counts as a match.

`clean` follows the published order of steps, dead ones left out; its runs of spaces are joined first, which
gives the same text in linear time. Sources: SilongYong/SQA3D ``LLM/eval_sqa3d_llm.py``,
embodied-generalist/embodied-generalist ``data/data_utils.py`` and ``evaluator/scanqa_eval.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vega3d.evaluation.metrics.numbers import UNITS

_TYPOS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
}
_NUMBERS = {str(value): word for value, word in enumerate([*UNITS.split(), "twenty"])}
_NUMBERS |= {"23": "twenty-three", "none": "zero"}
_TYPO = re.compile(rf"\b(?:{'|'.join(_TYPOS)})\b")
_NUMBER = re.compile(rf"\b(?:{'|'.join(_NUMBERS)})\b")


def clean(answer: str) -> str:
    """An answer in lower case without punctuation and articles, small numbers as words, typos mended."""
    answer = re.sub(" +", " ", answer.lower())
    answer = re.sub(" $", "", answer)  # also the one before a final newline
    answer = re.sub("^ ", "", answer)
    answer = re.sub(r"[^a-zA-Z0-9,'\s\-:]+", "", answer)
    answer = _TYPO.sub(lambda typo: _TYPOS[typo[0]], answer)
    answer = re.sub(r"\bo' +clock\b", "o'clock", answer)
    answer = _NUMBER.sub(lambda number: _NUMBERS[number[0]], answer)
    answer = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", answer)  # "no1": the digit is a slip
    for article in ("a", "an", "the"):
        answer = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", answer)
    return re.sub(r"\bbackwards\b", "backward", answer)


def contains(one: str, other: str) -> bool:
    """Test if one text contains the other, blanks aside; an empty text is contained in every other."""
    first, second = "".join(one.split()), "".join(other.split())
    return first in second or second in first


def ordered_match(prediction: str, answers: Sequence[str]) -> tuple[int, int]:
    """(EM, EM-R) as LEO counts: it stops at the first answer that matches in either way.

    So an exact match with a later answer is lost when an earlier one merely contains the prediction.
    """
    for answer in answers:
        if prediction == answer:
            return 1, 1
        if contains(prediction, answer):
            return 0, 1
    return 0, 0


def any_match(prediction: str, answers: Sequence[str]) -> tuple[int, int]:
    """(EM, EM-R) over all answers, whatever their order (LLaVA-3D)."""
    return int(prediction in answers), int(any(contains(prediction, answer) for answer in answers))


def shares_a_word(prediction: str, answer: str) -> int:
    """SQA3D's script for language models: cleaned prediction and raw answer share text or any one word."""
    if prediction in answer or answer in prediction:
        return 1
    return int(bool(set(prediction.split()) & set(answer.split())))
