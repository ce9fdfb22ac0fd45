"""Groups of parameters by learning rate and weight decay.

Projector and fusion start from nothing and the host does not, so they have a learning rate of their own.
Whatever has fewer than two dimensions (a norm, a bias, a scale) does not decay: to pull it towards zero
changes what the model computes, not how complex it is.

This module does not depend on optimizers.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vega3d.training.trained import plain_name

NEW = ("projector.", "fusion.")


def parameter_groups(
    model: nn.Module, *, lr: float, new_lr: float | None, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimizer, each with its ``name``, ``lr`` and ``weight_decay``; none is empty.

    Args:
        model: an adapter, or PEFT around one.
        lr: of everything but projector and fusion.
        new_lr: of projector and fusion; None is ``lr``.
        weight_decay: of matrices.
    """
    groups: list[dict[str, Any]] = [
        {"name": f"{part}{kind}", "params": [], "lr": rate, "weight_decay": decay}
        for part, rate in (("host", lr), ("new", lr if new_lr is None else new_lr))
        for kind, decay in (("", weight_decay), ("_no_decay", 0.0))
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_new = plain_name(name).startswith(NEW)
            has_decay = _dimensions(parameter) >= 2
            groups[2 * is_new + (not has_decay)]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def _dimensions(parameter: Any) -> int:
    """Under ZeRO-3 a parameter is an empty shell that remembers its shape."""
    return len(getattr(parameter, "ds_shape", parameter.shape))
