"""The grounding head: scores of objects for a query, and their contrastive loss.

Source: Video-3D-LLM, as VEGA-3D has it. The published loss exponentiates before it adds, which is safe only
because scores are cosines. Here it is a difference of log-sum-exps. The published code also appends the
zero target to the caller's list of positives; here the list never changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vega3d.errors import InputError


class GroundingHead(nn.Module):
    """Scores objects, and the answer that there is none, against a query.

    Args:
        width: D of objects and queries.

    Attributes:
        obj, query: MLPs of objects and of queries.
        zero_target: (D,) stands for "no object".
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.obj, self.query = _mlp(width), _mlp(width)
        self.zero_target = nn.Parameter(torch.randn(width))

    def forward(self, objects: Tensor, query: Tensor) -> Tensor:
        """Cosines of objects and query.

        Args:
            objects: (N, D); N may be 0.
            query: (D,) hidden state of the language model.

        Returns:
            (N + 1,) in -1..1; the last is the zero target.

        Raises:
            InputError: a shape does not fit.
        """
        width = self.zero_target.shape
        if objects.ndim != 2 or objects.shape[1:] != width or query.shape != width:
            got = f"objects {tuple(objects.shape)}, query {tuple(query.shape)}"
            expected = f"objects (N, {width[0]}), query ({width[0]},)"
            raise InputError("Invalid objects or query.", got=got, expected=expected)
        candidates = torch.cat([objects, self.zero_target[None].to(objects.dtype)])
        return F.normalize(self.obj(candidates), dim=-1) @ F.normalize(self.query(query), dim=-1)


def grounding_loss(scores: Tensor, positives: Sequence[int], temperature: float = 0.07) -> Tensor:
    """InfoNCE over the objects of a scene.

    Args:
        scores: (N + 1,) of the head.
        positives: numbers of the right objects; empty means the zero target.
        temperature: of the softmax.

    Returns:
        The loss, a scalar.

    Raises:
        InputError: a number is not that of an object.
    """
    count = len(scores) - 1
    if any(not 0 <= number < count for number in positives):
        raise InputError("Invalid positives.", got=list(positives), expected=f"numbers in 0..{count - 1}")
    right = list(positives) or [count]
    logits = scores / temperature
    return torch.logsumexp(logits, 0) - torch.logsumexp(logits[right], 0)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width), nn.Linear(width, width))
