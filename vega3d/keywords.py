"""Which keyword arguments a host understands, so that a typo is an error instead of a silent default."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import GenerationConfig
from transformers.utils.generic import TransformersKwargs

from vega3d.errors import UnknownKeywordError, nearest


def forward_keywords(host: Any) -> set[str]:
    """Names that the host's ``forward`` reads, with those that every transformers model reads."""
    return _named(host.forward) | set(TransformersKwargs.__annotations__) | {"return_dict"}


def generate_keywords(host: Any) -> set[str]:
    """Names that the host's ``generate`` reads: its own, the generation config's, and ``forward``'s."""
    return _named(host.generate) | set(GenerationConfig().to_dict()) | forward_keywords(host)


def reject_unknown(call: str, given: Mapping[str, Any], accepted: Iterable[str]) -> None:
    """Raise for the first keyword that nobody reads.

    Raises:
        UnknownKeywordError: a TypeError that names the keyword and the nearest accepted one.
    """
    accepted = set(accepted)
    unknown = [name for name in given if name not in accepted]
    if unknown:
        close = nearest(unknown[0], accepted)
        raise UnknownKeywordError(
            f"{call}() got an unexpected keyword argument {unknown[0]!r}.",
            got=", ".join(unknown),
            expected="an argument of this call or of the host's own",
            fix=f"did you mean {close!r}?" if close else "remove it",
        )


def _named(function: Any) -> set[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name for name, p in inspect.signature(function).parameters.items() if p.kind not in kinds}
