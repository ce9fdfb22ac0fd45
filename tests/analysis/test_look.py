"""Pictures show what the numbers say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.adapter.conftest import SETTINGS, wrap
from tests.adapter.siglips import make_tower
from tests.tiny import make_batch, make_host
from vega3d import SiglipBackbone, Vega3DAdapter, Vega3DConfig, WanBackbone
from vega3d.analysis.look import CONTRIBUTION, About, Look, look_at, write_look
from vega3d.analysis.pictures import SIDE, enlarged, heat, over, principal_colours, sheet
from vega3d.errors import InputError
from vega3d.fusion.encode import Encoding, FusionReport
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan
from vega3d.pico import pico_path

RNG = np.random.default_rng(0)


def test_features_that_vary_along_one_axis_differ_in_colour_along_it_only() -> None:
    maps = np.zeros((1, 8, 4, 6), np.float32)
    maps[0, 3] = np.arange(6)
    picture = principal_colours(maps)[0]
    assert (picture == picture[:1]).all()
    assert len(np.unique(picture[0].reshape(6, -1), axis=0)) > 3


def test_the_same_features_give_the_same_colours() -> None:
    maps = RNG.normal(size=(2, 16, 4, 6)).astype(np.float32)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(*(principal_colours(m) for m in (maps, maps.copy())), strict=True)
    )


def test_colours_are_stable_between_runs_that_round_differently() -> None:
    maps = RNG.normal(size=(2, 64, 4, 6)).astype(np.float32) * np.linspace(3, 0.1, 64)[:, None, None]
    first = principal_colours(maps)
    second = principal_colours(maps * (1 + 1e-6 * RNG.normal(size=maps.shape)))
    assert np.abs(np.subtract(first, second, dtype=int)).max() <= 2


def test_frames_of_a_clip_share_one_palette() -> None:
    maps = RNG.normal(size=(3, 16, 4, 6)).astype(np.float32)
    maps[2] = maps[0]
    first, _, third = principal_colours(maps)
    assert np.array_equal(first, third)


def test_two_components_remain_distinct_for_a_reader_without_red_and_green() -> None:
    """Simulated deuteranopia: Machado, Oliveira and Fernandes 2009, severity 1."""
    maps = np.zeros((1, 2, 1, 9), np.float32)
    maps[0, :, 0] = [[-3, 0, 3] * 3, [-1] * 3 + [0] * 3 + [1] * 3]
    colours = (principal_colours(maps)[0][0] / 255.0) ** 2.2
    seen = colours @ np.array([[0.367, 0.280, -0.012], [0.861, 0.673, 0.043], [-0.228, 0.047, 0.969]])
    shown = 255 * np.clip(seen, 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(shown[:, None] - shown[None], axis=-1)[~np.eye(9, dtype=bool)]
    assert distances.min() > 15


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels_are_enough_for_a_picture(channels: int) -> None:
    assert principal_colours(np.ones((1, channels, 2, 3), np.float32))[0].shape == (2, 3, 3)


def test_heat_is_brighter_where_the_value_is_higher() -> None:
    row = heat(np.linspace(0, 1, 9, dtype=np.float32)[None], 0, 1)[0].astype(int).sum(axis=1)
    assert (np.diff(row) > 0).all()


def test_a_layer_keeps_the_size_of_the_frame() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    assert over(frame, np.full((2, 3, 3), 255, np.uint8), 0.5).mean() == pytest.approx(127.5, abs=1)


def test_a_sheet_takes_rows_of_differing_length() -> None:
    tile = np.zeros((10, 20, 3), np.uint8)
    page = sheet([("one", [tile] * 3), ("two", [tile])], width=40)
    assert page.shape[1] > 3 * 40


@pytest.fixture(scope="module")
def seen() -> tuple[Encoding, torch.Tensor]:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("video", 5, 4, 6)]])
    model = wrap(host, WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS), "paper")
    with torch.no_grad():
        return model.encode(**batch), batch["generative_clips"][0].frames


@pytest.fixture(scope="module")
def look(seen: tuple[Encoding, torch.Tensor]) -> Look:
    return look_at(*seen)


@pytest.fixture(scope="module")
def untrained(seen: tuple[Encoding, torch.Tensor]) -> Look:
    return look_at(*seen, about=About(trained=False))


def test_every_frame_has_a_picture_of_its_features(look: Look) -> None:
    assert len(look.rows["features"].pictures) == len(look.rows["frame"].pictures) == 5


def test_the_gate_lies_on_the_frame_that_it_is_about() -> None:
    """In mode ``window`` the generator sees many frames for one of the host's."""
    plan = FramePlan.windows([5, 9, 13, 17], 5)
    frames = torch.stack([torch.full((3, 8, 8), number, dtype=torch.uint8) for number in plan.generative])
    shape = (2, 2, 3)  # two time steps of two frames each
    report = FusionReport("video", torch.zeros(shape), torch.zeros(shape))
    maps = FeatureMap(torch.randn(4, 4, 2, 3), tuple((link[0],) for link in plan.host_to_generator))
    drawn = look_at(Encoding({}, (report,), {}, (maps,)), frames, plan)
    for picture, number in zip(drawn.rows["gate"].pictures, (5, 13), strict=True):
        under = enlarged(np.full((8, 8, 3), number, np.uint8))
        assert np.array_equal(picture, over(under, heat(np.zeros((2, 3), np.float32), 0.0, 1.0)))


def test_every_picture_is_drawn_with_448_pixels_or_more(look: Look) -> None:
    assert all(min(p.shape[:2]) >= SIDE for row in look.rows.values() for p in row.pictures)


def test_features_are_laid_smoothly_over_the_frame(look: Look) -> None:
    picture, frame = look.rows["features"].pictures[0], look.rows["frame"].pictures[0]
    assert picture.shape == frame.shape
    assert np.abs(np.diff(picture[:, SIDE // 2].astype(int), axis=0)).max() < 60  # no edge of a cell


def test_equal_values_have_equal_colours_in_every_clip() -> None:
    bright, dark = np.array([[0.05, 0.9]], np.float32), np.array([[0.05, 0.001]], np.float32)
    assert np.array_equal(CONTRIBUTION.colours(bright)[0, 0], CONTRIBUTION.colours(dark)[0, 0])
    assert CONTRIBUTION.places(np.array([0.001, 1.0], np.float32)).tolist() == [0, 1]


def test_an_untrained_gate_is_not_drawn_and_the_look_says_so(untrained: Look, tmp_path: Path) -> None:
    written = {path.name for path in write_look(untrained, tmp_path, format="svg")}
    assert "gate.png" not in written
    assert "contribution.png" in written
    for name in ("look.svg", "look.html"):
        assert "untrained" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_contribution_of_zero_is_named_and_not_drawn(look: Look) -> None:
    report = FusionReport("video", torch.full((3, 2, 3), 0.5), torch.zeros(3, 2, 3))
    features = FeatureMap(torch.ones(4, 5, 2, 3), tuple((n,) for n in range(5)))
    frames = torch.zeros(5, 3, 32, 48, dtype=torch.uint8)
    fresh = look_at(Encoding({}, (report,), {}, (features,)), frames, about=About(trained=False))
    assert list(fresh.rows) == ["frame", "features"]
    assert "add nothing" in fresh.note
    assert look.note == ""


def test_a_clip_of_stored_features_needs_its_frames(look: Look) -> None:
    with pytest.raises(InputError, match="Missing frames"):
        look_at(Encoding({}, (), {}, ()), torch.zeros(0, 3, 8, 8))


def test_every_time_step_of_the_host_has_a_gate_and_a_contribution(look: Look) -> None:
    assert len(look.rows["gate"].pictures) == len(look.rows["contribution"].pictures) == 3


def test_the_written_numbers_are_those_of_the_pictures(look: Look, tmp_path: Path) -> None:
    written = write_look(look, tmp_path)
    assert json.loads((tmp_path / "look.json").read_text()) == look.numbers
    assert look.numbers["contribution_mean"] > 0
    assert all(Image.open(path).size[0] > 0 for path in written if path.suffix == ".png")


@pytest.fixture(scope="module")
def look_with_streams() -> Look:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("video", 5, 4, 6)]])
    backbone = WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)
    streams = [SiglipBackbone(make_tower(seed)) for seed in (0, 1)]
    model = Vega3DAdapter(host, Vega3DConfig(fusion="paper"), backbone, streams).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        return look_at(model.encode(**batch), batch["generative_clips"][0].frames)


def test_each_stream_has_a_row_of_weights_and_one_of_contributions(
    look_with_streams: Look, tmp_path: Path
) -> None:
    rows = {name: row for name, row in look_with_streams.rows.items() if name.startswith("siglip")}
    assert list(rows) == [
        f"{n}_{kind}" for n in ("siglip", "siglip_2") for kind in ("weight", "contribution")
    ]
    assert all(len(row.pictures) == 3 for row in rows.values())
    written = {path.name for path in write_look(look_with_streams, tmp_path)}
    kinds = ("weight", "contribution")
    assert {f"{name}_{kind}.png" for name in ("siglip", "siglip_2") for kind in kinds} <= written


def test_the_numbers_of_a_stream_are_written(look_with_streams: Look, tmp_path: Path) -> None:
    write_look(look_with_streams, tmp_path)
    numbers = json.loads((tmp_path / "look.json").read_text())
    own = numbers["streams"]["siglip"]
    assert 0 < own["weight_mean"] < 1 - numbers["gate_mean"]
    assert 0 < own["contribution_mean"] <= own["contribution_max"]


def test_a_model_without_streams_shows_none(look: Look, tmp_path: Path) -> None:
    written = {path.name for path in write_look(look, tmp_path)}
    pictures = {"look.png", "frame.png", "features.png", "gate.png", "contribution.png"}
    assert written == pictures | {"look.html", "look.json"}
    assert "streams" not in look.numbers
