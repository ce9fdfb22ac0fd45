"""Values that a model wrote as Python or JSON text: parsed, never run.

The published scorers hand such a line to Python's evaluator, which would run whatever a model wrote. Here
`ast.literal_eval` of the standard library reads literals only. A line that is long or nested deeply is
refused before it is parsed, since a parser's stack is finite. Sums and calls in a line, which the evaluator
would have worked out, are refused.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any

MAX_LENGTH = 10_000
MAX_DEPTH = 20
_FENCES = ("\n", "`", "json", "\n")


def literal(line: str) -> object:
    """The literal that a line holds.

    Raises:
        ValueError: it is not a literal, too long, or nested too deeply; nothing else is ever raised.
    """
    if len(line) > MAX_LENGTH or _depth(line) > MAX_DEPTH:
        raise ValueError("too long or too deeply nested to be an answer")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "1 is not callable" and the like: the model's affair
            return ast.literal_eval(line)
    except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError, OverflowError) as error:
        raise ValueError(f"no literal: {type(error).__name__}") from None


def dictionary(line: str) -> dict[Any, Any]:
    """The dictionary that a line holds; empty for a line that holds anything else."""
    try:
        value = literal(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def lines_within_fence(answer: str) -> list[str]:
    """The lines of an answer without its code fence, as the published scorers strip it.

    They strip *characters*: back-ticks, then any of j, s, o, n from both ends. A last line "json" goes as
    well.
    """
    for characters in _FENCES:
        answer = answer.strip(characters)
    return answer.split("\n")


def _depth(line: str) -> int:
    """The deepest nesting of brackets and of chains of signs, counted without regard to quotes."""
    depth = deepest = signs = 0
    for character in line:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        signs = signs + 1 if character in "+-~" else (signs if character.isspace() else 0)
        deepest = max(deepest, depth, signs)
    return deepest
