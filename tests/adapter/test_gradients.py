"""Gradients flow where they belong, from the first step, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.adapter.conftest import wrap
from tests.tiny import HOSTS, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone

ROWS = [[("image", 1, 4, 6)], [], [("video", 3, 4, 4)]]


def model_and_batch(backbone: WanBackbone, rows: Any = ROWS) -> tuple[Vega3DAdapter, dict[str, Any]]:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    batch = make_batch(host, rows)
    return wrap(host, backbone).train(), batch | {"labels": batch["input_ids"].clone()}


def step(model: Vega3DAdapter, batch: dict[str, Any], optimizer: torch.optim.Optimizer | None = None) -> None:
    model.zero_grad()
    model(**batch).loss.backward()
    if optimizer is not None:
        optimizer.step()


def trainable(model: Vega3DAdapter) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def silent(model: Vega3DAdapter) -> list[str]:
    return [n for n, p in trainable(model).items() if p.grad is None or not p.grad.abs().sum() > 0]


def test_the_projectors_last_layer_has_a_gradient_at_the_first_step(backbone: WanBackbone) -> None:
    model, batch = model_and_batch(backbone)
    step(model, batch)
    assert "projector.down.weight" not in silent(model)


@pytest.mark.parametrize("reentrant", [None, False, True], ids=["plain", "checkpointed", "reentrant"])
def test_from_the_second_step_every_parameter_of_projector_and_fusion_has_a_gradient(
    reentrant: bool | None, backbone: WanBackbone
) -> None:
    model, batch = model_and_batch(backbone)
    if reentrant is not None:
        options = {"use_reentrant": reentrant}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-2)
    step(model, batch, optimizer)
    step(model, batch)
    assert silent(model) == []


@pytest.mark.parametrize("fusion", ["paper", "released_3d", "released_vsi"])
def test_the_published_forms_give_every_parameter_a_gradient_at_once(
    fusion: str, backbone: WanBackbone
) -> None:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    batch = make_batch(host, ROWS)
    model = wrap(host, backbone, fusion).train()
    step(model, batch | {"labels": batch["input_ids"]})
    assert silent(model) == []


def test_frozen_parameters_never_get_a_gradient(backbone: WanBackbone) -> None:
    model, batch = model_and_batch(backbone)
    step(model, batch)
    assert all(p.grad is None for p in model.host.parameters())


def test_a_text_only_micro_batch_gives_every_new_parameter_a_gradient_of_zero(backbone: WanBackbone) -> None:
    model, batch = model_and_batch(backbone, [[], []])
    step(model, batch)
    assert all(p.grad is not None and not p.grad.any() for p in trainable(model).values())


def test_the_zero_term_does_not_change_the_loss(backbone: WanBackbone) -> None:
    model, batch = model_and_batch(backbone, [[], []])
    assert torch.equal(model(**batch).loss, model.host(**batch).loss)


@pytest.mark.parametrize("call", ["forward", "base_model"])
@pytest.mark.parametrize("name", HOSTS)
def test_the_zero_term_reaches_the_first_entry_of_a_tuple(
    name: str, call: str, backbone: WanBackbone
) -> None:
    host = make_host(name).requires_grad_(False)
    model, batch = wrap(host, backbone).train(), make_batch(host, [[]])
    outputs = getattr(model, call)(**batch, return_dict=False)
    assert isinstance(outputs, tuple)
    outputs[0].sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in trainable(model).values())


def test_without_labels_the_zero_term_reaches_the_logits(backbone: WanBackbone) -> None:
    model, batch = model_and_batch(backbone, [[]])
    del batch["labels"]
    model(**batch).logits.sum().backward()
    assert all(p.grad is not None for p in trainable(model).values())


def test_the_backbone_is_in_neither_parameters_nor_state_dict(backbone: WanBackbone) -> None:
    model, _ = model_and_batch(backbone)
    parts = {name.split(".")[0] for name in (*model.state_dict(), *dict(model.named_parameters()))}
    assert parts == {"host", "projector", "fusion"}


def test_a_backbone_that_is_a_module_is_not_registered_either(backbone: WanBackbone) -> None:
    class ModuleBackbone(torch.nn.Module):
        spec = backbone.spec

    model, _ = model_and_batch(backbone)
    model.backbone = ModuleBackbone()
    assert "backbone" not in dict(model.named_modules())
    assert isinstance(model.backbone, ModuleBackbone)
