"""Three recipes, each a function from an adapter to the module that is trained, and its groups of parameters.

``align`` trains projector and fusion; ``lora`` these and LoRA on the language model; ``full`` these and the
whole language model. The host's vision tower is frozen in all of them, so that every rank has a gradient for
every trained parameter for every batch, as DDP needs it. ZeRO needs more, see docs/training.md.

Projector and fusion start from nothing and the host does not, so they have a learning rate of their own.
Whatever has fewer than two dimensions (a norm, a bias, a scale) does not decay: to pull it towards zero
changes what the model computes, not how complex it is.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vega3d._utils.packages import imported
from vega3d.adapter import Vega3DAdapter
from vega3d.errors import ConfigError
from vega3d.training.config import LoraSettings, Recipe
from vega3d.training.trained import plain_name


def apply_recipe(adapter: Vega3DAdapter, recipe: Recipe, lora: LoraSettings | None = None) -> nn.Module:
    """The module that a recipe trains, in training mode."""
    if recipe == "lora":
        return with_lora(adapter, lora or LoraSettings())
    return aligned(adapter) if recipe == "align" else full(adapter)


def aligned(adapter: Vega3DAdapter) -> Vega3DAdapter:
    """Projector and fusion trainable, all of the host frozen."""
    adapter.requires_grad_(False)
    train_new(adapter)
    return adapter.train()


def full(adapter: Vega3DAdapter) -> Vega3DAdapter:
    """Projector, fusion, language model and head trainable; the vision tower frozen."""
    aligned(adapter)
    adapter.family.language_model(adapter.host).requires_grad_(True)
    adapter.get_output_embeddings().requires_grad_(True)
    return adapter


def with_lora(adapter: Vega3DAdapter, settings: LoraSettings) -> nn.Module:
    """PEFT around the adapter: LoRA in the host, projector and fusion trainable as they are.

    Raises:
        DependencyError: peft is not installed.
        ConfigError: no module has such a name.
    """
    peft = imported("peft", "the recipe lora needs")
    try:
        model: nn.Module = peft.get_peft_model(adapter, peft.LoraConfig(**lora_options(adapter, settings)))
    except ValueError as error:
        title = "Invalid lora.targets: no module has such a name."
        expected = "names of linear layers of the host"
        fix = "leave lora.targets out for all linear layers of the language model"
        raise ConfigError(title, got=str(error).splitlines()[0], expected=expected, fix=fix) from error
    train_new(adapter)
    return model.train()


def lora_options(adapter: Vega3DAdapter, settings: LoraSettings) -> dict[str, Any]:
    """Arguments of PEFT's ``LoraConfig``."""
    targets = settings.targets or adapter.family.lora_targets
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "bias": "none",
    }


def train_new(adapter: Vega3DAdapter) -> None:
    """Make projector and fusion trainable, in float32 whatever the host is in."""
    for module in (adapter.projector, adapter.fusion):
        module.float().requires_grad_(True)


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
            is_new = plain_name(name).startswith(("projector.", "fusion."))
            shape = getattr(parameter, "ds_shape", parameter.shape)  # ZeRO-3 leaves an empty shell
            has_decay = len(shape) >= 2
            groups[2 * is_new + (not has_decay)]["params"].append(parameter)
    return [group for group in groups if group["params"]]
