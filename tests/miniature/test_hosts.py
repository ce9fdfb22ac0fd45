"""A host whose visual tokens keep what is there and lose the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.miniature.config import What
from experiments.miniature.hosts import HOST, fold, kept, make_host, tokens_of
from train.pico.data import Cache
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.inputs.host_processor import load_host_processor
from vega3d.pico import pico_path

WIDTH, LABELS = 24, 3


def made_up(count: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (N, 24) that mix labels (N, 3) and a depth (N,) nobody asked to keep."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.rand(count, LABELS, generator=draw) < 0.3
    depth = torch.randn(count, generator=draw, dtype=torch.float64)
    mixing = torch.randn(LABELS + 1, WIDTH, generator=draw, dtype=torch.float64)
    noise = 0.3 * torch.randn(count, WIDTH, generator=draw, dtype=torch.float64)
    return torch.cat([labels.double(), depth[:, None]], 1) @ mixing + noise + 2, labels, depth


def explained(x: Tensor, y: Tensor) -> float:
    """R2 of a linear readout, with a little ridge."""
    x, y = x - x.mean(0), y.double() - y.double().mean(0)
    weights = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ y)
    return 1 - float(((y - x @ weights) ** 2).sum() / (y**2).sum())


def test_what_is_kept_can_be_read_as_well_as_before_and_the_rest_not_at_all() -> None:
    tokens, labels, depth = made_up()
    A, b = kept(tokens, labels, LABELS)
    cut = tokens @ A.T + b
    assert explained(tokens, depth) > 0.9
    assert explained(cut, depth) < 0.02
    for label in labels.T:
        assert explained(cut, label) == pytest.approx(explained(tokens, label), abs=0.01)


def test_what_is_cut_once_is_not_changed_by_cutting_again() -> None:
    tokens, labels, _ = made_up()
    A, b = kept(tokens, labels, LABELS)
    cut = tokens @ A.T + b
    torch.testing.assert_close(cut @ A.T + b, cut, rtol=0, atol=1e-8)
    torch.testing.assert_close(cut.mean(0), tokens.mean(0), rtol=0, atol=1e-8)


def test_a_map_folded_into_a_layer_is_the_layer_and_then_the_map() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, WIDTH), torch.randn(7, 5)
    A, b = torch.randn(WIDTH, WIDTH, dtype=torch.float64), torch.randn(WIDTH, dtype=torch.float64)
    with torch.no_grad():
        wanted = layer(x).double() @ A.T + b
        fold(layer, A, b)
        torch.testing.assert_close(layer(x).double(), wanted, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("what")
    return folder, make_host(folder, What(scenes=4, directions=6, held_out=2))


@pytest.fixture(scope="module")
def cut(made: tuple[Path, dict[str, Any]]) -> Path:
    return made[0]


def spread(host: Path, pixels: np.ndarray) -> Tensor:
    """Singular values of the centred visual tokens, the largest 1."""
    model = load_host(HostConfig(path=str(host))).eval().float()
    tokens = tokens_of(model, load_host_processor(str(host), None), pixels)
    values = torch.linalg.svdvals(tokens - tokens.mean(0))
    return values / values[0]


def test_the_written_host_shows_as_many_directions_as_were_kept(cut: Path) -> None:
    pixels = Cache(cut / "cache", "train", 4).pixels
    assert spread(cut / HOST, pixels)[6] < 0.02  # what rounding to bfloat16 leaves
    assert spread(Path(pico_path("host")), pixels)[6] > 0.1


def test_it_is_asked_the_same_before_and_after(made: tuple[Path, dict[str, Any]]) -> None:
    before, after = (
        {kind: (own["n"], own["blind"]) for kind, own in made[1][name].items()}
        for name in ("before", "after")
    )
    assert before == after
    assert {"exists", "colour"} <= set(before)


def test_everything_but_one_layer_is_the_shipped_host(cut: Path) -> None:
    own = load_host(HostConfig(path=str(cut / HOST))).state_dict()
    shipped = load_host(HostConfig(path=str(pico_path("host")))).state_dict()
    assert own.keys() == shipped.keys()
    other = {name for name in own if not torch.equal(own[name], shipped[name])}
    assert {name.rpartition(".")[0].rpartition("visual.")[2] for name in other} == {"merger.mlp.2"}
