"""Settings are checked when they are made, and survive the way to disk and back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d import FusionConfig, SiglipConfig, Vega3DConfig, WanConfig
from vega3d.backbones.loading import agreed
from vega3d.config import HostConfig
from vega3d.costs.setup import with_settings
from vega3d.errors import ConfigError

WANS = st.builds(
    WanConfig,
    path=st.none() | st.text(max_size=20),
    block=st.integers(0, 60),
    sigma=st.floats(0, 1),
    schedule=st.sampled_from(["exact", "released"]),
    resize=st.sampled_from(["fit", "center_crop"]),
    pixels=st.integers(256, 10**7),
    size=st.tuples(st.integers(1, 99), st.integers(1, 99)).map(lambda s: (s[0] * 16, s[1] * 16)),
    noise=st.sampled_from(["content", "shared"]),
    seed=st.integers(),
    micro_batch=st.none() | st.integers(1, 64),
)


@given(wan=WANS, fusion=st.sampled_from(["paper", "gated_residual"]), hidden=st.none() | st.integers(1, 9))
def test_any_config_survives_json(wan: WanConfig, fusion: str, hidden: int | None) -> None:
    config = Vega3DConfig(wan, FusionConfig(fusion, hidden), host=HostConfig("a/b", None, "qwen2_vl", 8))
    assert Vega3DConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("mode", "frames", "did you mean 'frame'"),
        ("resize", "fitt", "did you mean 'fit'"),
        ("noise", "none", "'content', 'shared'"),
        ("schedule", "exakt", "did you mean 'exact'"),
        ("dtype", "float16", "'bfloat16', 'float32'"),
        ("sigma", 300, r"sigma=0\.3"),
        ("sigma", -0.1, r"outside \[0, 1\]"),
        ("sigma", float("nan"), r"outside \[0, 1\]"),
        ("block", -1, "zero-based"),
        ("size", (830, 480), "multiples of 16"),
        ("size", (0, 16), "multiples of 16"),
        ("max_tokens", 0, "Invalid picture budget"),
        ("micro_batch", 0, "not positive"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_a_way_out(field: str, value: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        WanConfig(**{field: value})


def test_an_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="sigmoid"):
        WanConfig(sigmoid=0.3)


OLD: dict[str, Any] = {
    "picture": "reference",
    "between": 2,
    "length": 5,
    "draws": 3,
    "residual": "model",
    "shortcuts": ["stop"],
    "match": 1,
}
NEW = WanConfig(
    resize="center_crop", extra_frames=2, max_latent_frames=5, noise_samples=3, residual_dtype="model"
)


def test_the_settings_of_0_1_are_read_with_a_warning_that_names_the_new_ones() -> None:
    with pytest.warns(DeprecationWarning, match="picture is now resize, between is now extra_frames") as told:
        assert WanConfig(**OLD) == NEW
    assert "shortcuts has no effect" in str(told[0].message)
    with pytest.warns(DeprecationWarning, match="draws is now noise_samples"):
        assert Vega3DConfig.from_dict({"backbone": {"type": "wan", **OLD}}).backbone == NEW
    with pytest.warns(DeprecationWarning, match="length is now max_latent_frames"):
        assert dataclasses.replace(WanConfig(), length=5).max_latent_frames == 5
    with pytest.warns(DeprecationWarning, match="residual is now residual_dtype"):
        assert with_settings(WanConfig(), ["residual=model", "picture=whole"]).resize == "fit"


def test_an_old_setting_is_there_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"WanConfig\.draws is now WanConfig\.noise_samples"):
        assert NEW.draws == 3  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="drawss"):
        _ = NEW.drawss  # type: ignore[attr-defined]


def test_a_backbone_whose_features_depend_on_a_hosts_grid_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Matched:
        path: str | None = None
        channels: int | None = 3
        needs_host_grid = True

    with pytest.raises(ConfigError, match="Invalid backbone: its features depend on the host's token grid"):
        agreed(Matched(), None)


def test_importing_the_settings_of_the_backbones_loads_no_torch() -> None:
    code = (
        "import sys; from vega3d import SiglipConfig, Vega3DConfig, WanConfig; Vega3DConfig(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_key_of_a_record_is_named_with_its_place_and_the_nearest_name() -> None:
    record = Vega3DConfig().to_dict()
    record["backbone"]["sigmar"] = 0.2
    with pytest.raises(ConfigError, match=r"backbone\.sigmar(?s:.)*did you mean 'backbone\.sigma'"):
        Vega3DConfig.from_dict(record)


def test_unknown_keys_are_collected_where_they_may_be_ignored() -> None:
    record = Vega3DConfig().to_dict() | {"new": 1}
    record["fusion"]["newer"] = 2
    ignored: list[str] = []
    assert Vega3DConfig.from_dict(record, ignored) == Vega3DConfig()
    assert sorted(ignored) == ["fusion.newer", "new"]


def test_a_fusion_may_be_given_by_name() -> None:
    assert Vega3DConfig(fusion="paper").fusion == FusionConfig("paper")  # type: ignore[arg-type]


@given(layers=st.lists(st.integers(-30, -1), max_size=3), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_semantic_streams_survive_json(layers: list[int], dtype: Literal["float32", "bfloat16"]) -> None:
    streams = [SiglipConfig(path="a/b", channels=8, layer=layer, dtype=dtype) for layer in layers]
    config = Vega3DConfig(semantic_streams=streams)  # type: ignore[arg-type]
    assert Vega3DConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_key_of_a_stream_is_named_with_its_place() -> None:
    record = Vega3DConfig(semantic_streams=(SiglipConfig(), SiglipConfig())).to_dict()
    record["semantic_streams"][1]["layr"] = -2
    with pytest.raises(ConfigError, match=r"semantic_streams\.1\.layr(?s:.)*did you mean"):
        Vega3DConfig.from_dict(record)


def test_a_record_without_streams_has_none() -> None:
    record = Vega3DConfig().to_dict()
    del record["semantic_streams"]
    assert Vega3DConfig.from_dict(record).semantic_streams == ()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("layer", 0, "count from the end"),
        ("layer", 26, "use -1"),
        ("micro_batch", 0, "not positive"),
        ("dtype", "float16", "'bfloat16', 'float32'"),
    ],
)
def test_a_setting_of_siglip_that_makes_no_sense_is_refused(field: str, value: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        SiglipConfig(**{field: value})


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WanConfig().sigma = 0.5  # type: ignore[misc]


def test_the_default_is_the_papers() -> None:
    config = WanConfig()
    assert (config.block, config.sigma, config.mode) == (20, 0.3, "frame")
