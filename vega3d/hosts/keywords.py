"""Keyword arguments that a host accepts, so that a typo is an error instead of a silent default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from transformers import GenerationConfig
from transformers.utils.generic import TransformersKwargs

from vega3d.errors import UnknownKeywordError, nearest

# Names that transformers' decorators remove from the keywords of any ``forward``.
BY_DECORATORS = {"return_dict", "debug_io", "debug_io_dir", "prune_layers"}

# Names that earlier hosts read. Current hosts compute both, and ``forward`` still accepts them.
COMPUTED = {"cache_position", "rope_deltas"}

# Names that the body of ``generate`` reads and no signature lists.
BY_GENERATE = {"tokenizer", "assistant_tokenizer", "trust_remote_code", "debug_io", "mm_encoder_outputs"}

# Names of the cache in different versions of transformers.
RENAMED = {"past_key_values": "cache", "cache": "past_key_values"}


def forward_keywords(host: Any) -> set[str]:
    """Names that the host's ``forward`` reads, or passes to the modules below it and to its loss."""
    names, parameters = _names(host.forward), inspect.signature(host.forward).parameters.values()
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return names
    names |= set(TransformersKwargs.__annotations__) | BY_DECORATORS | COMPUTED
    return names.union(*map(_names, _below(host)))


def generate_keywords(host: Any, custom_loop: Any = None) -> set[str]:
    """Names that the host's ``generate`` reads: its own, the generation config's, and ``forward``'s.

    Args:
        host: the language model.
        custom_loop: the function that is ``custom_generate``; its arguments are keywords of the call.
    """
    names = _names(host.generate) | _names(host.forward) | BY_GENERATE
    names |= set(GenerationConfig().to_dict()) | set(TransformersKwargs.__annotations__)
    return names if custom_loop is None else names | _names(custom_loop)


def reject_unknown(call: str, given: Mapping[str, Any], accepted: Iterable[str]) -> None:
    """Raise for the first unknown keyword.

    Raises:
        UnknownKeywordError: a TypeError that names the keyword and the nearest accepted one.
    """
    accepted = set(accepted)
    unknown = [name for name in given if name not in accepted]
    if unknown:
        renamed = RENAMED.get(unknown[0])
        close = renamed if renamed in accepted else nearest(unknown[0], accepted)
        fix = f"did you mean {close!r}?" if close and unknown[0] not in COMPUTED else "remove it"
        title, got = f"Unknown keyword argument {unknown[0]!r} of {call}().", ", ".join(unknown)
        expected = "an argument of this call or of the host's own"
        raise UnknownKeywordError(title, got=got, expected=expected, fix=fix)


def _below(host: Any) -> Iterator[Callable[..., Any]]:
    """Functions that receive the remaining keywords of ``forward``: those of the text model and the loss."""
    for module in (getattr(host, "base_model", None), getattr(host, "get_decoder", lambda: None)()):
        if module is not None:
            yield module.forward
    if (loss := getattr(host, "loss_function", None)) is not None:
        yield loss


def _names(function: Any) -> set[str]:
    """Names of a function's parameters, and older ones that its decorators translate."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {name for name, p in inspect.signature(function).parameters.items() if p.kind not in kinds}
    return named | set(_older_names(function))


def _older_names(function: Any) -> Iterator[str]:
    """``old_name`` of each of transformers' ``deprecate_kwarg`` decorators around a function.

    Without such a decorator a name disappears in ``**kwargs`` unread, so a fixed list cannot replace this.
    """
    while function is not None:
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function) and "old_name" in function.__code__.co_freevars:
            old_name = inspect.getclosurevars(function).nonlocals.get("old_name")
            yield from [old_name] if isinstance(old_name, str) else []
        function = getattr(function, "__wrapped__", None)
