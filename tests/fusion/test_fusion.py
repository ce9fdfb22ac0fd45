"""Each fusion equals its formula, written down a second time and independently, in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vega3d import registry
from vega3d.fusion import Fusion, FusionContext

WIDTH, CHANNELS, TOKENS = 12, 6, 5
NAMES = registry.names("fusions")
Arrays = dict[str, np.ndarray]
erf = np.vectorize(math.erf)


def make(name: str, seed: int) -> tuple[Fusion, Arrays, np.ndarray, np.ndarray]:
    """A fusion with random weights, those weights, and both streams."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fusion = registry.resolve("fusions", name)(WIDTH)
        for parameter in fusion.parameters():
            torch.nn.init.normal_(parameter) if parameter.ndim else None
        semantic, generative = torch.randn(2, TOKENS, WIDTH) * 3
    weights = {key: value.double().numpy() for key, value in fusion.state_dict().items()}
    return fusion, weights, semantic.numpy(), generative.numpy()


def layer_norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def restated_gate(s: np.ndarray, g: np.ndarray, weights: Arrays) -> np.ndarray:
    both = np.concatenate(
        [layer_norm(g, weights, "norm_generative"), layer_norm(s, weights, "norm_semantic")], axis=1
    )
    return 1 / (1 + np.exp(-(both @ weights["gate.weight"].T + weights["gate.bias"])))


def restated(name: str, s: np.ndarray, g: np.ndarray, weights: Arrays) -> np.ndarray:
    gate = restated_gate(s, g, weights)
    if name == "gated_residual":
        return s + (1 - gate) * g
    if name == "paper":
        return (1 - gate) * g + gate * s
    if name == "released_3d":
        normed_s, normed_g = (
            layer_norm(s, weights, "norm_semantic"),
            layer_norm(g, weights, "norm_generative"),
        )
        return gate * normed_s + (1 - gate) * normed_g
    mixed = gate * s + (1 - gate) * g
    return s + weights["scale"] * (mixed - s)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_a_fusion_equals_its_formula(name: str, seed: int) -> None:
    fusion, weights, semantic, generative = make(name, seed)
    out = fusion(torch.from_numpy(semantic), torch.from_numpy(generative), FusionContext((TOKENS,)))
    expected = restated(name, semantic, generative, weights)
    np.testing.assert_allclose(out.tokens.detach().numpy(), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_fusion_reports_one_gate_a_token(name: str) -> None:
    fusion, weights, semantic, generative = make(name, 0)
    out = fusion(torch.from_numpy(semantic), torch.from_numpy(generative), FusionContext((TOKENS,)))
    gate = restated_gate(semantic, generative, weights)[:, 0]
    np.testing.assert_allclose(out.gate.detach().numpy(), gate, rtol=1e-4, atol=1e-5)


def test_the_released_vsi_scale_starts_at_a_fifth() -> None:
    assert registry.resolve("fusions", "released_vsi")(WIDTH).scale.item() == pytest.approx(0.2)


def test_the_default_projector_starts_at_exactly_zero() -> None:
    projector = registry.resolve("fusions", "gated_residual").projector(CHANNELS, WIDTH, None)
    assert not projector(torch.randn(TOKENS, 1, CHANNELS)).any()


@pytest.mark.parametrize("name", ["paper", "released_3d"])
def test_the_two_layer_projector_equals_its_formula(name: str) -> None:
    projector = registry.resolve("fusions", name).projector(CHANNELS, WIDTH, None)
    features = torch.randn(TOKENS, 1, CHANNELS)
    w = {key: value.double().numpy() for key, value in projector.state_dict().items()}
    hidden = features[:, 0].numpy() @ w["up.weight"].T + w["up.bias"]
    expected = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2))) @ w["down.weight"].T + w["down.bias"]
    np.testing.assert_allclose(projector(features).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_released_vsi_projector_normalises_each_patch_and_concatenates_four() -> None:
    projector = registry.resolve("fusions", "released_vsi").projector(CHANNELS, WIDTH, 7)
    features = torch.randn(TOKENS, 4, CHANNELS) * 5
    w = {key: value.double().numpy() for key, value in projector.state_dict().items()}
    patches = features.numpy().astype(np.float64)
    normed = patches / np.sqrt((patches**2).mean(-1, keepdims=True) + 1e-6) * w["norm.weight"]
    hidden = normed.reshape(TOKENS, 4 * CHANNELS) @ w["up.weight"].T + w["up.bias"]
    expected = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2))) @ w["down.weight"].T + w["down.bias"]
    np.testing.assert_allclose(projector(features).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gated_residual", 18_357_248 + 2 * 1536),  # Linear 1536->3584->3584, and the LayerNorm
        ("paper", 18_357_248),
        ("released_3d", 18_357_248),
        ("released_vsi", 39_853_568 + 1536),  # Linear 6144->4096->3584, and the RMSNorm
    ],
)
def test_at_true_size_the_projectors_have_the_published_number_of_parameters(
    name: str, parameters: int
) -> None:
    with torch.device("meta"):
        projector = registry.resolve("fusions", name).projector(1536, 3584, None)
    assert sum(p.numel() for p in projector.parameters()) == parameters
