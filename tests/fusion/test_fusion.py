"""Each fusion equals its formula, written down a second time and independently, in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vega3d import registry
from vega3d.errors import ConfigError
from vega3d.fusion import Fused, Fusion, FusionContext, build
from vega3d.fusion.base import Projector

WIDTH, CHANNELS, TOKENS = 12, 6, 5
NAMES = registry.names("fusions")
Arrays = dict[str, np.ndarray]
erf = np.vectorize(math.erf)


class Given(nn.Module):
    """Stands in for a projector: the stream is there already."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0]


class Case:
    """A fusion with random weights, host's tokens, and K streams, the generator's first."""

    def __init__(self, name: str, seed: int, further: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.fusion: Fusion = registry.resolve("fusions", name)(WIDTH, [Given() for _ in range(further)])
            for parameter in self.fusion.parameters():
                torch.nn.init.normal_(parameter) if parameter.ndim else None
            semantic, *streams = torch.randn(2 + further, TOKENS, WIDTH) * 3
        extra = tuple(stream[:, None] for stream in streams[1:])
        self.inputs = (semantic, streams[0], FusionContext((TOKENS,), extra))
        self.out = self.fusion(*self.inputs)
        self.weights = {key: value.double().numpy() for key, value in self.fusion.state_dict().items()}
        self.semantic = semantic.double().numpy()
        self.streams = [stream.double().numpy() for stream in streams]


def layer_norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def normalised(case: Case) -> tuple[np.ndarray, list[np.ndarray]]:
    norms = ["norm_generative", *(f"streams.{at}.norm" for at in range(len(case.streams) - 1))]
    streams = [layer_norm(x, case.weights, name) for x, name in zip(case.streams, norms, strict=True)]
    return layer_norm(case.semantic, case.weights, "norm_semantic"), streams


def logit(case: Case, stream: int) -> np.ndarray:
    """Gate logit (n, 1) of one stream against S."""
    gate = "gate" if stream == 0 else f"streams.{stream - 1}.gate"
    s, streams = normalised(case)
    both = np.concatenate([streams[stream], s], axis=1)
    return both @ case.weights[f"{gate}.weight"].T + case.weights[f"{gate}.bias"]


def restated_weights(case: Case) -> np.ndarray:
    """(n, 1 + K): e^0 for the host and e^-a for each stream, over their sum."""
    odds = [np.ones((TOKENS, 1)), *(np.exp(-logit(case, at)) for at in range(len(case.streams)))]
    return np.concatenate(odds, axis=1) / sum(odds)


def restated_terms(name: str, case: Case) -> list[np.ndarray]:
    streams = normalised(case)[1] if name == "released_3d" else case.streams
    scale = case.weights["scale"] if name == "released_vsi" else 1.0
    weights = restated_weights(case)
    return [scale * weights[:, [at]] * stream for at, stream in enumerate(streams, start=1)]


def restated(name: str, case: Case) -> np.ndarray:
    terms, s, host = sum(restated_terms(name, case)), case.semantic, restated_weights(case)[:, :1]
    if name == "gated_residual":
        return s + terms
    if name == "paper":
        return terms + host * s
    if name == "released_3d":
        return terms + host * normalised(case)[0]
    return terms + s + case.weights["scale"] * (host - 1) * s


@pytest.mark.parametrize("further", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_a_fusion_equals_its_formula(name: str, further: int, seed: int) -> None:
    case = Case(name, seed, further)
    expected = restated(name, case)
    np.testing.assert_allclose(case.out.tokens.detach().numpy(), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_with_the_generator_alone_the_gate_is_the_published_sigmoid(name: str, seed: int) -> None:
    case = Case(name, seed)
    gate = 1 / (1 + np.exp(-logit(case, 0)[:, 0]))
    np.testing.assert_allclose(case.out.gate.detach().numpy(), gate, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("further", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_host_and_streams_share_a_token_and_nothing_is_lost(name: str, further: int, seed: int) -> None:
    case = Case(name, seed, further)
    assert case.out.weights is not None
    weights = case.out.weights.detach().numpy()
    assert weights.shape == (TOKENS, 2 + further)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights, restated_weights(case), rtol=1e-3, atol=1e-5)
    assert torch.equal(case.out.gate, case.out.weights[:, 0])


@pytest.mark.parametrize("further", [0, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_fusion_reports_what_each_stream_added(name: str, further: int) -> None:
    case = Case(name, 0, further)
    assert case.out.terms is not None
    for found, expected in zip(case.out.terms, restated_terms(name, case), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), sign=st.sampled_from([-1.0, 1.0]))
def test_a_stream_is_heard_more_the_lower_its_gate_and_then_at_the_cost_of_all_others(
    name: str, seed: int, sign: float
) -> None:
    case = Case(name, seed, 2)
    with torch.no_grad():
        case.fusion.get_parameter("streams.1.gate.bias").add_(sign)
        change = sign * (case.fusion(*case.inputs).weights - case.out.weights)
    assert (change[:, 3] <= 0).all()
    assert (change[:, :3] >= 0).all()


@pytest.mark.exact
def test_with_streams_the_default_starts_as_the_identity_to_the_bit() -> None:
    kind = registry.resolve("fusions", "gated_residual")
    projector, fusion = build(kind, WIDTH, None, CHANNELS, [4, 5])
    semantic = torch.randn(TOKENS, WIDTH)
    extra = (torch.randn(TOKENS, 1, 4), torch.randn(TOKENS, 1, 5))
    out = fusion(semantic, projector(torch.randn(TOKENS, 1, CHANNELS)), FusionContext((TOKENS,), extra))
    assert torch.equal(out.tokens, semantic)


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gets_the_projector_of_its_fusion_inside_the_fusion(name: str) -> None:
    kind = registry.resolve("fusions", name)
    _, fusion = build(kind, WIDTH, 7, CHANNELS, [4])
    names = {key for key in fusion.state_dict() if key.startswith("streams.0.")}
    own = {f"streams.0.projector.{key}" for key in kind.projector(4, WIDTH, 7).state_dict()}
    assert names == own | {
        f"streams.0.{part}.{kind}" for part in ("norm", "gate") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("name", NAMES)
def test_without_streams_a_fusion_has_the_tensors_that_it_always_had(name: str) -> None:
    _, fusion = build(registry.resolve("fusions", name), WIDTH, None, CHANNELS)
    parts = {key.split(".")[0] for key in fusion.state_dict()}
    assert parts - {"scale"} == {"norm_generative", "norm_semantic", "gate"}


class Plain(Fusion):
    """A fusion of somebody else that knows of one stream only."""

    def __init__(self, width: int) -> None:
        super().__init__(width)

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        return Projector(channels, width, hidden or 8)

    def fuse(self, semantic: torch.Tensor, generative: torch.Tensor, context: FusionContext) -> Fused:
        return Fused(semantic + generative, torch.full((len(semantic),), 0.25))


def test_a_fusion_that_takes_the_width_alone_is_made_as_before() -> None:
    assert isinstance(build(Plain, WIDTH, None, CHANNELS)[1], Plain)


def test_a_fusion_that_takes_no_streams_is_refused_where_there_are_some() -> None:
    with pytest.raises(ConfigError, match=r"fusion Plain: .*further streams(?s:.)*supports_streams = True"):
        build(Plain, WIDTH, None, CHANNELS, [4])


def test_a_fusion_of_0_1_still_supports_streams_and_weighs_them() -> None:
    with pytest.warns(DeprecationWarning, match=r"takes_streams is now .*supports_streams"):

        class Older(Plain):
            takes_streams = True

    assert Older.supports_streams
    assert not Plain.supports_streams
    fusion, rows = Older(WIDTH), torch.randn(2, 3, WIDTH)
    with pytest.warns(DeprecationWarning, match=r"arbitrate is now .*gate_weights"):
        weights = fusion.arbitrate(rows[0], [rows[1]])
    assert torch.equal(weights, fusion.gate_weights(rows[0], [rows[1]]))


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
