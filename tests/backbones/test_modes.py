"""Each mode: frames encoded together, latents read off, frames that a step describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backbones.conftest import ANY_PLACE, PICO, VACE_MODES, random_frames
from vega3d import FramePlan, WanBackbone, WanConfig
from vega3d.backbones.frames import content_noise, shared_noise
from vega3d.backbones.wan.backbone import Chunk, steps
from vega3d.errors import ConfigError, InputError
from vega3d.grid import FeatureMap, TokenGrid, resample
from vega3d.media.frame_plan import frame_plan
from vega3d.pico import pico_path

Make = Callable[..., WanBackbone]
MODES = ("frame", "window", "joint", "clip", *VACE_MODES)
SMALL = 64 * 64


@pytest.fixture(scope="module")
def make(vace_folders: dict[str, Path]) -> Make:
    """Pico's Wan, or the golden VACE, in a mode; loaded once for equal settings."""
    known: dict[Any, WanBackbone] = {}

    def load(mode: str, **changes: Any) -> WanBackbone:
        config = dataclasses.replace(PICO, mode=mode, block=1, **changes)  # type: ignore[arg-type]
        if config not in known:
            prompt = torch.ones(1, 32) if mode in VACE_MODES else None
            path = vace_folders["diffusers"] if mode in VACE_MODES else pico_path("wan")
            known[config] = WanBackbone.from_pretrained(path, config=config, prompt_embeds=prompt)
        return known[config]

    return load


def mapped(wan: WanBackbone, frames: torch.Tensor, host: Any = None) -> FeatureMap:
    """The map of one clip of which the host sees ``host``; ``frames`` are the source."""
    plan = frame_plan(wan.config, range(len(frames)) if host is None else host)
    return wan(frames[list(plan.generative)], plan)[0]


# ---------------------------------------------------------------- what is encoded together


def test_a_window_is_the_last_latent_of_the_micro_clip_that_ends_at_the_frame(make: Make) -> None:
    wan, frames = make("window", noise="shared"), random_frames(12)
    found = mapped(wan, frames, host=[6, 11])
    clip = torch.stack([wan.prepare(frame) for frame in frames[7:12]], dim=1)[None]  # (1, 3, 5, H, W)
    states = wan.hidden_states(wan.latents(clip))[1][0]  # (2 * h * w, C)
    last = states[states.shape[0] // 2 :].T.reshape(found.features[:, 1].shape)
    assert torch.equal(found.features[:, 1], last)


def test_a_window_sees_motion_that_single_frames_do_not(make: Make) -> None:
    moving, still = random_frames(9), random_frames(9)
    still[:8] = still[8]
    moving[8] = still[8]
    window = [mapped(make("window", noise="shared"), frames, [8]).features for frames in (moving, still)]
    single = [mapped(make("frame", noise="shared"), frames, [8]).features for frames in (moving, still)]
    assert not torch.allclose(*window, atol=1e-3)
    assert torch.equal(*single)


def test_a_clip_is_one_video_whose_tail_is_padded_with_its_last_frame(make: Make) -> None:
    wan, frames = make("clip", noise="shared"), random_frames(7)
    padded = torch.cat([frames, frames[-1:], frames[-1:]])
    found, full = mapped(wan, frames), mapped(wan, padded)
    assert found.frames == ((0,), (1, 2, 3, 4), (5, 6))
    assert full.frames == ((0,), (1, 2, 3, 4), (5, 6, 7, 8))
    assert torch.equal(found.features, full.features)


@settings(deadline=None, max_examples=100)
@given(count=st.integers(1, 200), length=st.integers(1, 21), between=st.integers(0, 3))
def test_every_frame_of_a_clip_is_described_by_just_one_step(count: int, length: int, between: int) -> None:
    plan = frame_plan(WanConfig(mode="clip", max_latent_frames=length, extra_frames=between), range(count))
    runs = [Chunk(0, run, torch.empty(0)) for run in plan.runs]
    described = [at for run in runs for step in steps(run, "clip") for at in step]
    assert described == list(range(len(plan.generative)))
    assert all(len(steps(run, "clip")) <= length for run in runs)


def test_host_groups_take_the_latents_of_their_frames(make: Make) -> None:
    wan, frames = make("clip"), random_frames(9)
    feature = mapped(wan, frames)
    groups = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 8))
    rows, columns = feature.features.shape[2:]
    tokens = resample(feature, TokenGrid(groups, rows, columns), [(at,) for at in range(9)])
    latents = feature.features.permute(1, 2, 3, 0).flatten(1, 2)  # (3, h * w, C)
    expected = [latents[[0, 1]], latents[[1, 1]], latents[[1, 2]], latents[[2, 2]], latents[[2, 2]]]
    for found, pair in zip(tokens[:, 0].unflatten(0, (5, -1)), expected, strict=True):
        assert torch.allclose(found, pair.mean(0), atol=1e-5)


def test_joint_frames_have_their_own_latents_and_one_attention(make: Make) -> None:
    wan, frames = make("joint", noise="shared"), random_frames(3)
    found = mapped(wan, frames)
    latents = wan.latents(torch.stack([wan.prepare(frame) for frame in frames]))  # (3, 16, 1, h, w)
    states = wan.hidden_states(latents.transpose(0, 2))[1][0]
    assert found.frames == ((0,), (1,), (2,))
    assert torch.equal(found.features, states.T.reshape(found.features.shape))


@pytest.mark.exact
def test_joint_and_clip_of_one_frame_are_that_frame_alone(make: Make) -> None:
    frame = random_frames(1)
    alone = mapped(make("frame"), frame).features
    assert torch.equal(mapped(make("joint"), frame).features, alone)
    assert torch.equal(mapped(make("clip"), frame).features, alone)


@pytest.mark.parametrize(("mode", "per_run"), [("joint", 3), ("clip", 9)])
def test_a_long_clip_is_split_into_equal_parts(mode: str, per_run: int, make: Make) -> None:
    wan, frames = make(mode, max_latent_frames=3), random_frames(per_run + 1)
    plan = frame_plan(wan.config, range(len(frames)))
    half = len(plan.runs[0])
    assert [len(run) for run in plan.runs] == [half, len(frames) - half]
    first = mapped(wan, frames[:half]).features
    assert torch.equal(mapped(wan, frames).features[:, : first.shape[1]], first)


def test_with_a_reference_every_frame_depends_on_itself_and_on_the_first(make: Make) -> None:
    wan, frames = make("vace_reference", noise="shared"), random_frames(3)
    base = mapped(wan, frames).features
    other_second, other_first = frames.clone(), frames.clone()
    other_second[1] = 255 - other_second[1]
    other_first[0] = 255 - other_first[0]
    changed = [
        (mapped(wan, one).features != base).flatten(2).any(2).any(0).tolist()
        for one in (other_second, other_first)
    ]
    assert changed == [[False, True, False], [True, True, True]]


def test_without_a_reference_frames_stand_alone(make: Make) -> None:
    wan, frames = make("vace_no_reference"), random_frames(3)
    assert torch.equal(mapped(wan, frames).features[:, 1:], mapped(wan, frames[1:]).features)


@ANY_PLACE
@pytest.mark.exact
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_in_every_mode_what_else_is_in_the_batch_changes_no_bit(
    mode: str, micro_batch: int, make: Make
) -> None:
    wan = make(mode, micro_batch=micro_batch)
    first, second = random_frames(5), random_frames(5, seed=1)
    alone = wan(first)[0]
    beside = wan([random_frames(2, 96, 32, seed=2), second, first])[2]
    assert beside.frames == alone.frames
    assert torch.equal(beside.features, alone.features)


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_different_populations(mode: str, make: Make) -> None:
    others = [make(other).fingerprint() for other in MODES if other != mode]
    assert make(mode).fingerprint() not in others


def test_a_setting_without_a_part_in_the_mode_leaves_the_fingerprint(make: Make) -> None:
    assert make("frame", window=9, max_latent_frames=5).fingerprint() == make("frame").fingerprint()
    assert make("window", window=9).fingerprint() != make("window").fingerprint()


@pytest.mark.parametrize("mode", ["window", "vace_reference"])
def test_a_plan_of_another_mode_is_refused(mode: str, make: Make) -> None:
    plan = FramePlan.per_frame(range(5))
    with pytest.raises(InputError, match=f"mode '{mode}'"):
        make(mode)(random_frames(5), plan)


def test_a_plan_that_does_not_fit_its_clip_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"4 frames(?s:.)*5 frames"):
        make("frame")(random_frames(4), FramePlan.per_frame(range(5)))
    with pytest.raises(InputError, match="one plan for each clip"):
        make("frame")([random_frames(4)], [FramePlan.per_frame(range(4))] * 2)


# ---------------------------------------------------------------- plans


@settings(deadline=None)
@given(host=st.lists(st.integers(0, 300), min_size=1, max_size=12), length=st.sampled_from([5, 9]))
def test_a_window_ends_at_its_frame_and_runs_at_the_native_rate(host: list[int], length: int) -> None:
    plan = FramePlan.windows(host, length)
    runs = {plan.generative[run[-1]]: [plan.generative[at] for at in run] for run in plan.runs}
    assert set(runs) == set(host)
    assert all(run == [max(0, at) for at in range(end - length + 1, end + 1)] for end, run in runs.items())
    assert [plan.generative[link[0]] for link in plan.host_to_generator] == host


@settings(deadline=None)
@given(step=st.integers(1, 30), count=st.integers(1, 20), between=st.integers(0, 5))
def test_the_generator_sees_frames_between_the_hosts(step: int, count: int, between: int) -> None:
    host = range(0, step * count, step)
    plan = FramePlan.together(host, 10_000, between)
    inserted = min(between, step - 1)
    assert len(plan.generative) == count + (count - 1) * inserted
    assert list(plan.generative) == sorted(set(plan.generative))
    assert [plan.generative[link[0]] for link in plan.host_to_generator] == list(host)
    gaps = {b - a for a, b in zip(plan.generative, plan.generative[1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@settings(deadline=None)
@given(count=st.integers(1, 300), longest=st.integers(1, 81))
def test_parts_of_a_long_clip_are_equal_to_one_frame_and_lose_nothing(count: int, longest: int) -> None:
    runs = FramePlan.together(range(count), longest).runs
    assert [at for run in runs for at in run] == list(range(count))
    lengths = [len(run) for run in runs]
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) <= 1
    assert len(runs) == -(-count // longest)


# ---------------------------------------------------------------- noise, draws, sweeps


@pytest.mark.parametrize("mode", ["frame", "clip"])
def test_the_mean_of_draws_is_the_mean_of_their_features(mode: str, make: Make) -> None:
    frames = random_frames(2)
    single = make(mode)
    draws = []
    for draw in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(single, "_noise", lambda f, s, _, d=draw: content_noise(PICO.seed, f, s, d))
            draws.append(single(frames)[0].features)
    assert not torch.equal(draws[0], draws[1])
    mean = make(mode, noise_samples=3)(frames)[0].features
    assert torch.allclose(mean, torch.stack(draws).mean(0), atol=1e-5)


def test_shared_noise_is_the_same_at_every_latent_frame_and_for_every_length() -> None:
    one, many = shared_noise(0, (16, 1, 4, 6)), shared_noise(0, (16, 5, 4, 6))
    assert torch.equal(many, one.expand(-1, 5, -1, -1))
    assert not torch.equal(shared_noise(0, (16, 1, 4, 6), draw=1), one)


@pytest.mark.exact
def test_a_sweep_is_what_each_setting_gives_alone(make: Make) -> None:
    frames = random_frames(3)
    found = make("frame").sweep(frames, blocks=(0, 1), sigmas=(0.1, 0.3))
    assert set(found) == {(0, 0.1), (0, 0.3), (1, 0.1), (1, 0.3)}
    alone = dataclasses.replace(PICO, block=0, sigma=0.1)
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=alone)
    assert torch.equal(found[0, 0.1][0].features, wan(frames)[0].features)
    assert torch.equal(found[1, 0.3][0].features, make("frame")(frames)[0].features)


def test_a_sweep_runs_the_vae_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    wan, seen = make("frame"), []
    original = wan._encode_pictures
    monkeypatch.setattr(wan, "_encode_pictures", lambda x: (seen.append(len(x)), original(x))[1])
    wan.sweep(random_frames(2), blocks=(0, 1), sigmas=(0.1, 0.2, 0.3))
    assert seen == [1, 1]


# ---------------------------------------------------------------- pictures


def test_the_3d_preset_pools_to_14_by_14() -> None:
    config = WanConfig.reference("3d", block=0, size=(64, 32))
    feature = WanBackbone.from_pretrained(pico_path("wan"), config=config)(random_frames(2))[0]
    assert feature.features.shape == (128, 2, 14, 14)
    assert feature.resampling == "bilinear"


def test_the_presets_are_the_released_settings() -> None:
    vsi, three = WanConfig.reference(), WanConfig.reference("3d")
    assert (vsi.size, vsi.block, vsi.pool) == ((832, 480), 29, None)
    assert (three.size, three.block, three.pool) == ((1280, 720), 20, 14)
    assert all((c.resize, c.schedule, c.mode) == ("center_crop", "released", "frame") for c in (vsi, three))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"window": 4}, "micro-clip"),
        ({"window": 1}, "micro-clip"),
        ({"extra_frames": -1}, "extra_frames"),
        ({"max_latent_frames": 0}, "max_latent_frames"),
        ({"noise_samples": 0}, "noise_samples"),
        ({"pool": 0}, "pool"),
        ({"mode": "vace"}, "vace_no_reference"),
        ({"residual_dtype": "half"}, "residual_dtype"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        WanConfig(**changes)
