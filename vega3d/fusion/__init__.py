"""Fusion of generative features and further streams into a host's visual tokens; one class for each method.

A fusion takes streams of equal shape: S (the host's tokens), G (projected generative tokens), and one more
for each further encoder. It returns tokens of that shape. It also defines the projector from C channels to
the host's width D, because the published methods differ there too.

Each stream has a gate logit against S. A softmax over (0, -a_0, -a_1, ...) weighs host and streams. With the
generator alone that is g = sigmoid(a_0), the published gate. All parameters of a further stream, its
projector included, are part of the fusion, so they are saved and trained with it.

A weight alone is not informative: with G near zero any gate is harmless. So each method also returns the
term that each stream added, for the contribution ||term|| / ||S||.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from vega3d.errors import ConfigError
from vega3d.fusion.projector import Projector


@dataclass(frozen=True)
class FusionContext:
    """Inputs of a fusion beside the tokens.

    Attributes:
        lengths: number of tokens of each image or video, in the order of the tokens.
        extra: resampled features (n, cells * cells, C_k) of each further stream.
        streams: ``extra`` projected to (n, D); set by ``Fusion.forward``.
    """

    lengths: tuple[int, ...]
    extra: tuple[Tensor, ...] = ()
    streams: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Fused:
    """Result of a fusion.

    Attributes:
        tokens: (n, D) fused tokens.
        gate: (n,) in 0..1, weight of the host's tokens; 1 means that only they are used.
        weights: (n, 1 + K), weights of host, generator and further streams; each row sums to 1. None is
            allowed with one stream and stands for 1 - gate.
        terms: (n, D) added by each of the K streams. None is allowed with one stream and stands for the
            whole change.
    """

    tokens: Tensor
    gate: Tensor
    weights: Tensor | None = None
    terms: tuple[Tensor, ...] | None = None


class Stream(nn.Module):
    """Parameters of one further stream.

    Args:
        width: D, width of all streams.
        projector: maps the stream's features (n, cells * cells, C) to (n, D).
    """

    def __init__(self, width: int, projector: nn.Module) -> None:
        super().__init__()
        self.projector = projector
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, 1)


class Fusion(nn.Module, ABC):
    """Base of all fusions: two LayerNorms and one linear layer give one gate for each token (paper, eq. 7).

    Args:
        width: D, width of all streams.
        streams: projectors of further streams.
    """

    cells: ClassVar[int] = 1
    """Patches on one side of a token that the projector takes separately."""

    takes_streams: ClassVar[bool] = False
    """True if the fusion supports further streams: takes ``streams``, returns ``weights`` and ``terms``."""

    def __init__(self, width: int, streams: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.norm_generative = nn.LayerNorm(width)
        self.norm_semantic = nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, 1)
        self.streams = nn.ModuleList(Stream(width, projector) for projector in streams)

    @classmethod
    @abstractmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """Build the projector of this method, from C channels to the width D."""

    @abstractmethod
    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Fuse (n, D) with (n, D), and with ``context.streams``; all in float32."""

    def forward(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Project further streams, then ``fuse``; ``forward``, so that wrappers such as PEFT's apply."""
        if context.extra:
            pairs = zip(self._further(), context.extra, strict=True)
            context = replace(context, streams=tuple(stream.projector(raw) for stream, raw in pairs))
        return self.fuse(semantic, generative, context)

    def normalise(self, generative: Tensor, context: FusionContext) -> list[Tensor]:
        """Normalise G and the further streams, each (n, D) with its own LayerNorm."""
        pairs = zip(self._further(), context.streams, strict=True)
        return [self.norm_generative(generative), *(stream.norm(tokens) for stream, tokens in pairs)]

    def arbitrate(self, semantic: Tensor, streams: Sequence[Tensor]) -> Tensor:
        """Weights (n, 1 + K) of host and K streams, from the normalised (n, D) of all of them."""
        if len(streams) == 1:
            gate = self.token_gate(streams[0], semantic)
            return torch.cat([gate, 1 - gate], dim=-1)
        gates = [self.gate, *(stream.gate for stream in self._further())]
        logits = [
            gate(torch.cat([tokens, semantic], dim=-1)) for gate, tokens in zip(gates, streams, strict=True)
        ]
        return torch.softmax(-torch.cat([torch.zeros_like(logits[0]), *logits], dim=-1), dim=-1)

    def _further(self) -> list[Stream]:
        return [stream for stream in self.streams if isinstance(stream, Stream)]

    def token_gate(self, generative: Tensor, semantic: Tensor) -> Tensor:
        """g = sigmoid(W [G; S] + b) of two normalised (n, D) streams, as (n, 1)."""
        return torch.sigmoid(self.gate(torch.cat([generative, semantic], dim=-1)))


def weighted(weights: Tensor, streams: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Terms w_k G_k of all streams, from weights (n, 1 + K) whose first column is the host's."""
    return tuple(weights[:, k : k + 1] * stream for k, stream in enumerate(streams, start=1))


def total(terms: Sequence[Tensor]) -> Tensor:
    """Sum of terms, in order and without an initial zero."""
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def build(
    kind: type[Fusion], width: int, hidden: int | None, channels: int, extra: Sequence[int] = ()
) -> tuple[Projector, Fusion]:
    """Build the generator's projector, and the fusion with the projectors of further streams.

    Args:
        kind: class of the fusion.
        width: D of the host.
        hidden: width of the projectors' hidden layers; None takes the method's own.
        channels: C of the generator.
        extra: C of each further stream.

    Raises:
        ConfigError: there are further streams, and the method does not support them.
    """
    projector = kind.projector(channels, width, hidden)
    if not extra:
        return projector, kind(width)
    if not kind.takes_streams:
        raise ConfigError(
            f"Invalid fusion {kind.__name__}: it does not support further streams.",
            got=f"{len(extra)} semantic_streams with a fusion whose takes_streams is False",
            expected="a fusion with takes_streams = True, such as gated_residual, or no semantic_streams",
            fix="leave semantic_streams empty, or set takes_streams = True in a fusion that takes streams in "
            "__init__ and returns weights and terms",
        )
    return projector, kind(width, [kind.projector(count, width, hidden) for count in extra])
