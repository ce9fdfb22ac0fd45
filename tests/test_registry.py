"""Names are found lazily; a package of somebody else adds its own through entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tiny import make_host
from vega3d import Vega3DAdapter, Vega3DConfig, WanConfig, registry
from vega3d.errors import ConfigError

PLUGIN = '''
"""A fusion of somebody else: it adds, without a gate."""
import torch
from vega3d.fusion import Fused, Fusion
from vega3d.fusion.base import Projector


class Add(Fusion):
    @classmethod
    def projector(cls, channels, width, hidden):
        return Projector(channels, width, hidden or 8)

    def fuse(self, semantic, generative, context):
        return Fused(semantic + generative, torch.zeros(len(semantic)))
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package, as pip would install it."""
    (tmp_path / "somebodys_fusion.py").write_text(PLUGIN)
    info = tmp_path / "somebodys_fusion-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-fusion\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vega3d.fusions]\nsum = somebodys_fusion:Add\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_built_in_names_are_listed() -> None:
    assert registry.names("hosts") == ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"]
    assert registry.names("backbones") == ["siglip", "wan"]


@pytest.mark.parametrize("kind", ["hosts", "backbones", "fusions"])
def test_every_listed_name_resolves(kind: registry.Kind) -> None:
    assert all(registry.resolve(kind, name) is not None for name in registry.names(kind))


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'paper'(?s:.)*did you mean 'paper'"):
        registry.resolve("fusions", "papr")


@pytest.mark.usefixtures("plugin")
def test_a_fusion_of_another_package_is_used_by_its_name() -> None:
    config = Vega3DConfig(fusion="sum", backbone=WanConfig(channels=4))  # type: ignore[arg-type]
    model = Vega3DAdapter(make_host("qwen2_5_vl"), config)
    assert type(model.fusion) is sys.modules["somebodys_fusion"].Add
    assert "sum" in registry.names("fusions")


def test_a_config_of_no_registered_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="registered backbone"):
        registry.backbone_name(object())
