"""Differences of the arms, and settings that all share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.miniature.ames import flipped, is_right
from experiments.miniature.features import donors
from experiments.miniature.probing import consistency, depth_probe
from experiments.miniature.rooms import choose, geometry, host_frames, kinds_of
from experiments.miniature.sources import MiniatureConfig, MiniatureEncoder, fingerprint_of, oracle_channels
from experiments.miniature.tuning import REFERENCE, hidden_width
from train.pico import control
from vega3d.errors import BackboneError, ConfigError
from vega3d.fusion.gated_residual import GatedResidual
from vega3d.media.frame_plan import FramePlan
from vega3d.registry import backbone_record, names, register
from vega3d.rooms import make_room, scene_seed

WIDTH = 256


@pytest.mark.parametrize("channels", [28, 64, 128, 256])
def test_every_arm_has_as_many_new_parameters(channels: int) -> None:
    def count(c: int, hidden: int) -> int:
        return sum(p.numel() for p in GatedResidual.projector(c, WIDTH, hidden).parameters())

    unit = channels + 1 + WIDTH
    wanted = count(REFERENCE, WIDTH)
    assert abs(count(channels, hidden_width(channels, WIDTH)) - wanted) <= unit / 2 + 1


def test_the_study_is_a_backbone_like_any_other() -> None:
    assert "miniature" in names("backbones")
    assert backbone_record(MiniatureConfig("oracle"))["type"] == "miniature"


def test_a_name_that_is_taken_is_not_given_again() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register("backbones", "wan", "somewhere:Else")


def test_nobody_computes_an_oracle_from_frames() -> None:
    with pytest.raises(BackboneError, match="oracle"):
        MiniatureEncoder.from_pretrained(".", config=MiniatureConfig("oracle"))


def test_a_fingerprint_does_not_name_the_folder() -> None:
    assert fingerprint_of(MiniatureConfig(path="a"), "w") == fingerprint_of(MiniatureConfig(path="b"), "w")
    assert fingerprint_of(MiniatureConfig(), "w") != fingerprint_of(MiniatureConfig(), "other")


def test_no_clip_gives_to_itself_and_sets_do_not_mix() -> None:
    found = donors(["a", "b", "c", "x", "y"], {"a", "b", "c"})
    assert found == {"a": "b", "b": "c", "c": "a", "x": "y", "y": "x"}


def test_the_oracle_tells_places_apart() -> None:
    points = np.array([[[[0.0, 1.0, 2.0]]], [[[0.1, 1.0, 2.0]]]], dtype=np.float32)
    features = oracle_channels(points, np.zeros((2, 1, 1), np.float32))  # (C, 2, 1, 1)
    assert features.shape == (28, 2, 1, 1)
    assert not torch.equal(features[:, 0], features[:, 1])


def test_the_host_sees_the_frames_that_geometry_is_made_of() -> None:
    from vega3d.media.decoding import VideoInfo, sample_indices

    info = VideoInfo(path="v", n_frames=48, fps=8.0, width=64, height=64)
    assert tuple(host_frames(48, 8)) == sample_indices(info, nframes=8)


def test_rooms_of_the_trained_set_lack_what_is_held_out() -> None:
    chosen = choose("train", 2, {"train": 2})
    assert all(not kinds_of(make_room(scene_seed("train", 2, index))) for index in chosen["train"])


def test_places_of_one_surface_agree_over_frames() -> None:
    from experiments.miniature.config import Rooms

    made = geometry([make_room(7)], Rooms(1, 1, 0, frames=16), nframes=4)
    assert made["depth"].shape == (1, 4, 8, 8)
    size = np.array(make_room(7).size)
    assert (np.abs(made["world"][0, ..., :2]) <= size[:2] / 2 + 1e-3).all()
    own = consistency(_features_of(made["world"]), made["world"])
    noise = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 16)).astype(np.float32)
    assert own[0] > 0.5 > consistency(noise, np.repeat(made["world"], 2, axis=0))[0]


def _features_of(world: np.ndarray) -> np.ndarray:
    """Features that are a function of the place."""
    waves = [f(world[..., axis] * k) for axis in range(3) for k in (1, 2) for f in (np.sin, np.cos)]
    return np.stack(waves, axis=-1).astype(np.float32)


def test_a_probe_finds_depth_where_it_is_and_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    depth = rng.normal(size=(30, 2, 8, 8)).astype(np.float32)
    noise = rng.normal(size=(30, 2, 8, 8, 6)).astype(np.float32)
    told = np.concatenate([noise, depth[..., None]], axis=-1)
    train = np.arange(30) < 20
    assert depth_probe(told, depth, train, deep=False)["depth_ridge"][0] > 0.9
    assert depth_probe(noise, depth, train, deep=False)["depth_ridge"][0] < 0.05


def test_an_answer_flips_only_if_it_is_right_and_turns_with_the_features() -> None:
    assert flipped({"fused": [True, True], "swapped": [False, False]}) == 1.0
    assert flipped({"fused": [True, True], "swapped": [True, False]}) == 0.0
    assert flipped({"fused": [True, False], "swapped": [False, False]}) == 0.0


def test_masking_takes_out_whole_patches() -> None:
    gap = control.gaps(torch.zeros(4, 16, 5, 16, 16), torch.Generator().manual_seed(0))
    patches = gap.unfold(3, 2, 2).unfold(4, 2, 2)  # (4, 1, 5, 8, 8, 2, 2)
    assert torch.equal(patches.amin((-1, -2)), patches.amax((-1, -2)))
    assert 0.7 < gap.mean() < 0.8


def test_the_depth_target_of_a_latent_pixel_is_its_own_four_depths() -> None:
    depth = np.arange(1, 1 + 17 * 32 * 32, dtype=np.float32).reshape(1, 17, 32, 32)
    clips = type("Clips", (), {"depth": depth})()
    target = control.depths(clips, np.array([0]), 2, None)  # (1, 4, 2, 16, 16)
    expected = np.log(depth[0, 4, 6:8, 10:12].ravel())  # the second latent frame is the fifth of the clip
    torch.testing.assert_close(target[0, :, 1, 3, 5], torch.from_numpy(expected))


def test_an_encoder_of_frames_gives_one_step_a_frame() -> None:
    config = MiniatureConfig("latents", channels=3)
    encoder = MiniatureEncoder(config, lambda clip: clip.float().transpose(0, 1)[:, :, :2, :2], "w")
    (found,) = encoder(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), FramePlan.per_frame(range(4)))
    assert found.features.shape == (3, 4, 2, 2)
    assert found.frames == ((0,), (1,), (2,), (3,))


@pytest.mark.parametrize(
    ("said", "true", "twins", "right"),
    [
        ("A", "A", "B", True),
        ("A. bed", "A", "B", True),
        ("B", "A", "B", False),
        ("2.1", "2.0", "3.0", True),
        ("2.6", "2.0", "3.0", False),
        ("2.5", "2.0", "3.0", False),
        ("far", "2.0", "3.0", False),
    ],
)
def test_an_answer_about_a_twin_is_right_if_it_is_not_the_other_ones(
    said: str, true: str, twins: str, right: bool
) -> None:
    assert is_right(said, true, twins) is right
