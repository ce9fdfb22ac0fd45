"""The training of the pico video models takes short cuts; none of them may change what is computed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from train.pico import clips as pico_clips
from train.pico import flow as pico_flow
from train.pico import probe as pico_probe
from train.pico import run as pico_run
from train.pico import vae as pico_vae


@pytest.fixture(scope="module")
def pico() -> Any:
    """The scripts as modules."""
    return SimpleNamespace(clips=pico_clips, flow=pico_flow, probe=pico_probe, run=pico_run, vae=pico_vae)


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """The model with every parameter moved, so that no zero hides a lost term."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 5, 9])
def test_the_vae_over_a_whole_clip_gives_what_the_class_gives_in_pieces(pico: Any, frames: int) -> None:
    model = shaken(pico.vae.build(0))
    x = torch.rand(1, 3, frames, 32, 32) * 2 - 1
    latents = model.encode(x).latent_dist.mean
    decoded = model.decode(latents).sample
    pico.vae.whole_clip(model)
    again, mean, _ = pico.vae.reconstruct(model, x, sample=False)
    torch.testing.assert_close(mean, latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.clamp(-1, 1), decoded, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_new_vae_treats_a_still_clip_as_its_one_frame(pico: Any) -> None:
    model = pico.vae.build(0).eval()
    frame = torch.rand(1, 3, 1, 32, 32) * 2 - 1
    one = model.decode(model.encode(frame).latent_dist.mean).sample
    many = model.decode(model.encode(frame.expand(-1, -1, 5, -1, -1)).latent_dist.mean).sample
    torch.testing.assert_close(many, one.expand_as(many), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_fast_transformer_is_the_stock_one(pico: Any) -> None:
    model = shaken(pico.flow.build(0))
    z, t = torch.randn(2, 16, 3, 8, 8), torch.tensor([0.3, 0.8])
    stock = model(z, 1000 * t, torch.zeros(2, 512, 64), return_dict=False)[0]
    pico.flow.speed_up(model, compiled=False)
    torch.testing.assert_close(pico.flow.velocity(model, z, t), stock, atol=1e-4, rtol=1e-4)


def trained(pico: Any, folder: Path, stops: list[int]) -> torch.nn.Module:
    """A small net after the last of ``stops`` steps, killed and resumed at the others."""
    for stop in stops:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
        run = pico.run.Run(folder, {"net": net}, [net[0].weight], 1.0, 1e-2, average=["net"], steps=40)
        run.load()
        while run.step < stop:
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(run.step))
            (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
            run.update()
        run.save()
    with run.at_average():
        return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(pico: Any, tmp_path: Path) -> None:
    straight = trained(pico, tmp_path / "a", [40])
    assert torch.equal(straight, trained(pico, tmp_path / "b", [13, 29, 40]))


def test_rendered_clips_are_kept_and_half_a_line_is_rendered_again(pico: Any, tmp_path: Path) -> None:
    clips = pico.clips.Clips(tmp_path, "val", 2)
    clips.fill(1)
    first, pixels = clips.lines[0], clips.pixels[0].copy()
    text = next(tmp_path.glob("*.jsonl"))
    text.write_text(text.read_text() + '{"seed": 1')
    again = pico.clips.Clips(tmp_path, "val", 2)
    again.fill(2)
    assert len(again.lines) == 2
    assert again.lines[0] == first
    assert np.array_equal(again.pixels[0], pixels)
    assert again.pixels[1].any()


def test_a_probe_finds_what_is_there_and_nothing_in_noise(pico: Any) -> None:
    rng = np.random.default_rng(0)
    rooms, per = 60, 20
    y = rng.normal(size=(rooms, per)).astype(np.float32)
    train = np.arange(rooms) < 40
    for x, low, high in (
        (np.stack([y, rng.normal(size=y.shape)], -1), 0.99, 1.0),
        (rng.normal(size=(rooms, per, 2)), -0.05, 0.05),
    ):
        flat = x.astype(np.float32).reshape(-1, 2)
        numbers, chosen = np.repeat(np.arange(rooms), per), np.repeat(train, per)
        guess = pico.probe.ridge(flat, y.reshape(-1, 1), numbers, chosen)
        assert low <= pico.probe.r2(y, guess.reshape(y.shape), ~train)[0] <= high
