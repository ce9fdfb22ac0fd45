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
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vega3d._utils import moved
from vega3d.errors import ConfigError

Norm = Literal["layer", "rms", "none"]


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


class Projector(nn.Module):
    """Trainable MLP: norm -> concatenate the patches of a token -> Linear -> GELU -> Linear.

    Args:
        channels: C of the feature map.
        width: D of the host.
        hidden: width of the hidden layer.
        norm: normalisation of each patch. A residual stream has no fixed scale, so the default
            method normalises; the published 3-D projector does not.
        cells: patches on one side of a token; their cells * cells vectors are concatenated.
        zero: start the last layer at zero, so that the output is exactly zero until trained.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        hidden: int,
        *,
        norm: Norm = "none",
        cells: int = 1,
        zero: bool = False,
    ) -> None:
        super().__init__()
        rms_or_none = nn.RMSNorm(channels, eps=1e-6) if norm == "rms" else nn.Identity()
        self.norm = nn.LayerNorm(channels) if norm == "layer" else rms_or_none
        self.up = nn.Linear(channels * cells * cells, hidden)
        self.act = nn.GELU()
        self.down = nn.Linear(hidden, width)
        if zero:
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(n, cells * cells, C) -> (n, D), in the dtype of the parameters."""
        normed = self.norm(features.to(self.up.weight.dtype))
        output: Tensor = self.down(self.act(self.up(normed.flatten(1))))  # (n, cells * cells * C) -> (n, D)
        return output


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

    supports_streams: ClassVar[bool] = False
    """True if the fusion supports further streams: takes ``streams``, returns ``weights`` and ``terms``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "takes_streams" in vars(cls):
            moved.warn(f"{cls.__name__}.takes_streams", f"{cls.__name__}.supports_streams")
            cls.supports_streams = vars(cls)["takes_streams"]

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

    def gate_weights(self, semantic: Tensor, streams: Sequence[Tensor]) -> Tensor:
        """Weights (n, 1 + K) of host and K streams, from the normalised (n, D) of all of them."""
        if len(streams) == 1:
            gate = self.token_gate(streams[0], semantic)
            return torch.cat([gate, 1 - gate], dim=-1)
        gates = [self.gate, *(stream.gate for stream in self._further())]
        pairs = zip(gates, streams, strict=True)
        logits = [gate(torch.cat([tokens, semantic], dim=-1)) for gate, tokens in pairs]
        return torch.softmax(-torch.cat([torch.zeros_like(logits[0]), *logits], dim=-1), dim=-1)

    def arbitrate(self, semantic: Tensor, streams: Sequence[Tensor]) -> Tensor:
        """Name of ``gate_weights`` in version 0.1."""
        moved.warn("Fusion.arbitrate", "Fusion.gate_weights")
        return self.gate_weights(semantic, streams)

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
    return reduce(torch.add, terms)


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
    if not kind.supports_streams:
        title, got = f"Invalid fusion {kind.__name__}: no further streams.", f"{len(extra)} semantic_streams"
        expected = "a fusion with supports_streams = True, such as gated_residual"
        fix = "leave semantic_streams empty, or take streams in __init__ and return weights and terms"
        raise ConfigError(title, got=got, expected=expected, fix=fix)
    return projector, kind(width, [kind.projector(count, width, hidden) for count in extra])
