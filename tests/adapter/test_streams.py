"""Semantic streams beside the host: the host itself at the start; frozen, weighed, saved, in their place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

import vega3d
from tests.adapter.conftest import SETTINGS, wrap
from tests.adapter.siglips import save_siglip
from tests.adapter.test_identity import MIXED, logits
from tests.tiny import for_host, grouped, make_batch, make_host
from vega3d import (
    SiglipBackbone,
    SiglipConfig,
    Vega3DAdapter,
    Vega3DConfig,
    WanBackbone,
    WanConfig,
)
from vega3d.checkpoint.record import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from vega3d.errors import BackboneError, CheckpointError, ConfigError
from vega3d.fusion import Fused, FusionContext
from vega3d.fusion.encode import stream_maps, unique_names
from vega3d.fusion.gated_residual import GatedResidual
from vega3d.grid import FeatureMap
from vega3d.inputs.clip import clips_from_tensors
from vega3d.media.frame_plan import FramePlan, frame_plan
from vega3d.pico import pico_path
from vega3d.pipeline import attention_of

FUSIONS = ["gated_residual", "paper", "released_3d", "released_vsi"]
Streams = tuple[SiglipBackbone, ...]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two towers of differing width and grid."""
    root = tmp_path_factory.mktemp("siglips")
    return save_siglip(root / "a"), save_siglip(root / "b", 1, hidden_size=24, image_size=56)


@pytest.fixture(scope="session")
def streams(folders: tuple[Path, Path]) -> Streams:
    first, second = folders
    return (
        SiglipBackbone.from_pretrained(first),
        SiglipBackbone.from_pretrained(second, config=SiglipConfig(layer=-2)),
    )


def beside(
    host: Any, backbone: WanBackbone, streams: Sequence[Any], fusion: str = "gated_residual"
) -> Vega3DAdapter:
    """A host wrapped with streams, in eval mode."""
    return Vega3DAdapter(host, Vega3DConfig(fusion=fusion), backbone, streams).eval()  # type: ignore[arg-type]


def heard(model: Vega3DAdapter) -> Vega3DAdapter:
    """Stand-in for training: no layer is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for part in (model.projector, model.fusion):
            for parameter in part.parameters():
                parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return model


# -------------------------------------------------------------------- what the model computes


@pytest.mark.exact
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_with_streams_a_fresh_adapter_gives_the_hosts_logits_to_the_bit(
    name: str, dtype: torch.dtype, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host(name, dtype)
    batch = make_batch(host, MIXED)
    for count in (1, 2):
        model = beside(host, backbone, streams[:count])
        assert torch.equal(logits(model, batch), logits(host, for_host(batch)))


@pytest.mark.parametrize("at", [0, 1])
def test_a_trained_stream_is_heard(at: int, backbone: WanBackbone, streams: Streams) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, MIXED)
    model = beside(host, backbone, streams)
    torch.nn.init.normal_(model.fusion.streams[at].projector.down.weight)
    assert not torch.allclose(logits(model, batch), logits(host, for_host(batch)))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_weights_of_host_and_streams_sum_to_one_on_every_token(
    fusion: str, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl")
    model = heard(beside(host, backbone, streams, fusion))
    with torch.no_grad():
        reports = model.encode(**make_batch(host, MIXED)).reports
    for report in reports:
        assert [stream.name for stream in report.streams] == ["wan", "siglip", "siglip_2"]
        total = report.gate + sum(stream.weight for stream in report.streams)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-6)
        for stream in report.streams:
            assert stream.weight.shape == stream.contribution.shape == report.gate.shape
            assert (stream.weight > 0).all()
            assert (stream.contribution > 0).all()


def test_without_streams_the_generator_alone_is_reported(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    model = heard(wrap(host, backbone))
    with torch.no_grad():
        report = model.encode(**make_batch(host, [[("video", 3, 4, 4)]])).reports[0]
    (alone,) = report.streams
    assert alone.name == "wan"
    assert torch.equal(alone.weight, 1 - report.gate)
    assert torch.allclose(alone.contribution, report.contribution, rtol=1e-4)


def test_an_untrained_stream_contributes_nothing_beside_a_trained_generator(
    backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl")
    model = beside(host, backbone, streams)
    torch.nn.init.normal_(model.projector.down.weight)
    with torch.no_grad():
        report = model.encode(**make_batch(host, [[("image", 1, 4, 6)]])).reports[0]
    assert [stream.contribution.any().item() for stream in report.streams] == [True, False, False]


def test_the_order_of_a_batch_changes_no_feature_of_a_stream(backbone: WanBackbone, streams: Streams) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("image", 1, 4, 4)] * 3])
    model = heard(beside(host, backbone, streams))
    with torch.no_grad():
        alone = model.encode(**batch)
        together = model.encode(**grouped(batch, [[2, 0]]))
    for one, other in zip(alone.reports, together.reports, strict=True):
        for mine, theirs in zip(one.streams, other.streams, strict=True):
            assert torch.equal(mine.contribution, theirs.contribution)


@pytest.mark.exact
def test_a_trainers_autocast_changes_no_bit_of_a_frozen_feature(
    backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("video", 3, 4, 4)]])
    model = heard(beside(host, backbone, streams))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (inside,) = model.encode(**batch).maps
    assert torch.equal(inside.features, backbone([batch["generative_clips"][0].frames])[0].features)


# -------------------------------------------------------------------- which frames a stream sees


class Seen:
    """A stream that notes the frames it is given; its feature is the frame's mean."""

    def __init__(self) -> None:
        self.clips: list[torch.Tensor] = []

    def __call__(self, frames: Sequence[torch.Tensor], plan: object = None) -> list[FeatureMap]:
        self.clips += frames
        return [
            FeatureMap(
                clip.float().mean((1, 2, 3)).view(1, -1, 1, 1), tuple((at,) for at in range(len(clip)))
            )
            for clip in frames
        ]


MODES = [
    WanConfig(),
    WanConfig(mode="window", window=5),
    WanConfig(mode="joint"),
    WanConfig(mode="clip", extra_frames=3),
    WanConfig(mode="vace_reference"),
]


@pytest.mark.parametrize("settings", MODES, ids=lambda settings: settings.mode)
def test_a_stream_sees_the_frames_of_the_host_alone_in_every_mode(settings: WanConfig) -> None:
    host = (9, 3, 14, 3)
    plan = frame_plan(settings, host)
    video = torch.stack([torch.full((3, 4, 4), float(source)) for source in plan.generative])
    clips = clips_from_tensors(lambda host: plan, videos=[video])
    stream = Seen()
    (found,) = stream_maps(stream, clips)  # type: ignore[arg-type]
    assert len(stream.clips[0]) == 3  # of four, one twice; none that only the generator needs
    step = {positions: at for at, positions in enumerate(found.frames)}
    described = [found.features[0, step[link], 0, 0].item() for link in plan.host_to_generator]
    assert described == list(host)  # each frame of the host is described by itself


def test_images_of_one_clip_reach_a_stream_once_each() -> None:
    images = [torch.full((3, 4, 4), float(at)) for at in range(4)]
    stream = Seen()
    clips = clips_from_tensors(FramePlan.per_frame, images, groups=[[2, 0]])
    stream_maps(stream, clips)  # type: ignore[arg-type]
    assert [clip.mean((1, 2, 3)).tolist() for clip in stream.clips] == [[2, 0], [1], [3]]


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["wan", "siglip"], ("wan", "siglip")),
        (["wan", "siglip", "siglip", "siglip"], ("wan", "siglip", "siglip_2", "siglip_3")),
        (["siglip", "siglip"], ("siglip", "siglip_2")),
    ],
)
def test_streams_of_one_name_are_numbered(names: list[str], unique: tuple[str, ...]) -> None:
    assert unique_names(names) == unique


# -------------------------------------------------------------------- gradients


def step(model: Vega3DAdapter, batch: dict[str, Any], optimizer: torch.optim.Optimizer | None = None) -> None:
    model.zero_grad()
    model(**batch, labels=batch["input_ids"]).loss.backward()
    if optimizer is not None:
        optimizer.step()


def silent(model: Vega3DAdapter) -> list[str]:
    found = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [name for name, p in found if p.grad is None or not p.grad.any()]


def test_each_streams_last_layer_starts_at_zero_and_has_a_gradient_at_the_first_step(
    backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    model = beside(host, backbone, streams).train()
    last = [f"fusion.streams.{at}.projector.down.{part}" for at in (0, 1) for part in ("weight", "bias")]
    assert not any(model.get_parameter(name).any() for name in last)
    step(model, make_batch(host, MIXED))
    assert not set(last) & set(silent(model))


def test_from_the_second_step_every_projector_and_gate_of_every_stream_has_a_gradient(
    backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    model, batch = beside(host, backbone, streams).train(), make_batch(host, MIXED)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    step(model, batch, optimizer)
    step(model, batch)
    assert silent(model) == []
    assert all(p.grad is None for p in host.parameters())


@pytest.mark.parametrize("fusion", FUSIONS[1:])
def test_the_published_forms_give_every_stream_a_gradient_at_once(
    fusion: str, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    model = beside(host, backbone, streams, fusion).train()
    step(model, make_batch(host, MIXED))
    assert silent(model) == []


def test_the_towers_are_in_neither_parameters_nor_state_dict(backbone: WanBackbone, streams: Streams) -> None:
    model = beside(make_host("qwen2_5_vl"), backbone, streams)
    further = sum(p.numel() for p in model.parameters())
    parts = {name.split(".")[0] for name in (*model.state_dict(), *dict(model.named_modules())) if name}
    assert parts == {"host", "projector", "fusion"}
    model.streams = ()
    assert sum(p.numel() for p in model.parameters()) == further


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_text_only_micro_batch_gives_the_streams_parameters_a_gradient_of_zero(
    fusion: str, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl").requires_grad_(False)
    model = beside(host, backbone, streams, fusion).train()
    step(model, make_batch(host, [[], []]))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for p in trained)


def test_peft_trains_and_saves_the_streams_with_the_fusion(
    backbone: WanBackbone, streams: Streams, tmp_path: Path
) -> None:
    host = make_host("qwen2_5_vl")
    model = beside(host, backbone, streams)
    targets = model.family.lora_targets
    lora = get_peft_model(
        model, LoraConfig(r=2, target_modules=targets, modules_to_save=["projector", "fusion"])
    )
    trained = {name for name, p in lora.named_parameters() if p.requires_grad}
    assert sum("fusion.modules_to_save.default.streams." in name for name in trained) == 2 * (6 + 4)
    heard(model)
    lora.eval().save_pretrained(tmp_path)
    batch = make_batch(host, [[("image", 1, 4, 4)]])
    expected = logits(lora, batch)
    again = PeftModel.from_pretrained(beside(make_host("qwen2_5_vl"), backbone, streams), tmp_path)
    assert torch.equal(logits(again, batch), expected)


# -------------------------------------------------------------------- on disk


@pytest.fixture
def saved(backbone: WanBackbone, streams: Streams, tmp_path: Path) -> Path:
    heard(beside(make_host("qwen2_5_vl"), backbone, streams)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.exact
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_saved_model_loads_its_streams_and_gives_the_same_logits_to_the_bit(
    fusion: str, backbone: WanBackbone, streams: Streams, tmp_path: Path
) -> None:
    host = make_host("qwen2_5_vl")
    model = heard(beside(host, backbone, streams, fusion))
    model.save_pretrained(tmp_path)
    again = Vega3DAdapter.from_pretrained(tmp_path, host=host, backbone=backbone).eval()
    batch = make_batch(host, MIXED)
    assert torch.equal(logits(again, batch), logits(model, batch))
    assert again.vega3d_config == model.vega3d_config
    assert [stream.fingerprint() for stream in again.streams] == [stream.fingerprint() for stream in streams]


def test_streams_that_are_loaded_already_are_taken(
    saved: Path, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl")
    model = Vega3DAdapter.from_pretrained(saved, host=host, backbone=backbone, streams=streams)
    assert model.streams == streams


def test_only_projectors_and_fusion_are_written(saved: Path) -> None:
    names = load_file(saved / WEIGHTS_FILE)
    assert {name.split(".")[0] for name in names} == {"projector", "fusion"}
    assert {name.split(".")[2] for name in names if name.startswith("fusion.streams.")} == {"0", "1"}


def test_the_card_names_the_streams(saved: Path, folders: tuple[Path, Path]) -> None:
    card = (saved / CARD_FILE).read_text()
    assert all(f"`{folder}`" in card for folder in folders)


def test_without_its_towers_a_model_is_read_and_saved_but_encodes_nothing(
    saved: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    host = make_host("qwen2_5_vl")
    model = Vega3DAdapter.from_pretrained(saved, host=host, backbone=backbone, streams=())
    model.save_pretrained(tmp_path / "again")
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "again" / file).read_bytes() == (saved / file).read_bytes()
    with pytest.raises(BackboneError, match=r"0 streams(?s:.)*2 loaded streams(?s:.)*load_streams"):
        model.encode(**make_batch(host, [[("image", 1, 4, 4)]]))


def test_a_checkpoint_of_before_streams_still_loads(backbone: WanBackbone, tmp_path: Path) -> None:
    host = make_host("qwen2_5_vl")
    model = heard(wrap(host, backbone))
    model.save_pretrained(tmp_path)
    file = tmp_path / CONFIG_FILE
    record = json.loads(file.read_text())
    assert record["semantic_streams"] == []
    older = {name: value for name, value in record.items() if name not in ("files", "checksum")}
    file.write_text(json.dumps(older | {"format": "1.0"}))
    again = Vega3DAdapter.from_pretrained(tmp_path, host=host, backbone=backbone).eval()
    batch = make_batch(host, MIXED)
    assert torch.equal(logits(again, batch), logits(model, batch))


def test_a_stream_that_the_weights_do_not_have_is_named(saved: Path) -> None:
    tensors = saved / WEIGHTS_FILE
    record = json.loads((saved / CONFIG_FILE).read_text())
    record["semantic_streams"].append(record["semantic_streams"][0])
    del record["checksum"]
    (saved / CONFIG_FILE).write_text(json.dumps(record))
    assert tensors.exists()
    with pytest.raises(CheckpointError, match=r"missing(?s:.)*fusion\.streams\.2"):
        Vega3DAdapter.from_pretrained(saved, host=make_host("qwen2_5_vl"), backbone=None, streams=())


def test_wrap_loads_the_streams_that_the_config_names(folders: tuple[Path, Path]) -> None:
    config = Vega3DConfig(
        backbone=dataclasses.replace(SETTINGS, path=str(pico_path("wan"))),
        semantic_streams=tuple(SiglipConfig(path=str(folder)) for folder in folders),
    )
    model = Vega3DAdapter.wrap(make_host("qwen2_5_vl"), config)
    assert [stream.spec.channels for stream in model.streams] == [36, 24]
    assert [settings.channels for settings in model.vega3d_config.semantic_streams] == [36, 24]


def test_the_assistant_loads_a_checkpoint_with_streams(folders: tuple[Path, Path], tmp_path: Path) -> None:
    from vega3d.config import HostConfig
    from vega3d.hosts.loading import load_host

    config = Vega3DConfig(
        backbone=dataclasses.replace(SETTINGS, path=str(pico_path("wan"))),
        semantic_streams=(SiglipConfig(path=str(folders[0])),),
    )
    host = load_host(HostConfig(path=str(pico_path("host"))))
    Vega3DAdapter.wrap(host, config).save_pretrained(tmp_path)
    said: list[str] = []
    assistant = vega3d.load(str(tmp_path), device="cpu", log=said.append)
    assert [stream.spec.name for stream in assistant.adapter.streams] == ["siglip"]
    assert any(str(folders[0]) in line for line in said)
    assert list(attention_of(assistant.adapter)) == ["host", "backbone", "siglip"]


# -------------------------------------------------------------------- what is refused


def test_a_stream_of_another_width_is_refused(backbone: WanBackbone, streams: Streams) -> None:
    model = beside(make_host("qwen2_5_vl"), backbone, streams)
    with pytest.raises(BackboneError, match=r"24, 36(?s:.)*36, 24"):
        model.streams = streams[::-1]


def test_streams_and_settings_of_differing_number_are_refused(
    backbone: WanBackbone, streams: Streams
) -> None:
    config = Vega3DConfig(semantic_streams=(SiglipConfig(layer=-2),))
    with pytest.raises(ConfigError, match="Invalid number of streams"):
        Vega3DAdapter(make_host("qwen2_5_vl"), config, backbone, streams)


def test_a_stream_that_contradicts_its_settings_is_named_by_its_place(
    backbone: WanBackbone, streams: Streams
) -> None:
    config = Vega3DConfig(semantic_streams=(SiglipConfig(), SiglipConfig(layer=-3)))
    with pytest.raises(ConfigError, match=r"semantic_streams\[1\](?s:.)*layer=-2(?s:.)*layer=-3"):
        Vega3DAdapter(make_host("qwen2_5_vl"), config, backbone, streams)


def test_a_stream_without_a_path_is_named_by_its_place(folders: tuple[Path, Path]) -> None:
    config = Vega3DConfig(
        backbone=dataclasses.replace(SETTINGS, path=str(pico_path("wan"))),
        semantic_streams=(SiglipConfig(path=str(folders[0])), SiglipConfig()),
    )
    with pytest.raises(ConfigError, match=r"semantic_streams\[1\]\.path"):
        Vega3DAdapter.wrap(make_host("qwen2_5_vl"), config)


def test_a_stream_of_unknown_width_that_is_not_loaded_is_refused(backbone: WanBackbone) -> None:
    config = Vega3DConfig(semantic_streams=(SiglipConfig(),))
    with pytest.raises(ConfigError, match=r"semantic_streams\[0\]\.channels"):
        Vega3DAdapter(make_host("qwen2_5_vl"), config, backbone)


def test_a_bare_name_is_no_stream(backbone: WanBackbone) -> None:
    with pytest.raises(ConfigError, match="backbone config str"):
        Vega3DAdapter(make_host("qwen2_5_vl"), Vega3DConfig(semantic_streams=("siglip",)), backbone)


class Mute(GatedResidual):
    """Takes streams, and does not say what they did."""

    def fuse(self, semantic: torch.Tensor, generative: torch.Tensor, context: FusionContext) -> Fused:
        return Fused(semantic + generative, torch.full((len(semantic),), 0.25))


@pytest.mark.parametrize("count", [0, 1])
def test_a_fusion_that_reports_one_gate_serves_the_generator_alone(
    count: int, backbone: WanBackbone, streams: Streams
) -> None:
    host = make_host("qwen2_5_vl")
    model = beside(host, backbone, streams[:count])
    projectors = [stream.projector for stream in model.fusion.streams]
    model.fusion = Mute(model.projector.down.out_features, projectors)
    batch = make_batch(host, [[("image", 1, 4, 4)]])
    if count:
        with pytest.raises(ConfigError, match="does not report all streams"):
            model.encode(**batch)
    else:
        (alone,) = model.encode(**batch).reports[0].streams
        assert (alone.weight == 0.75).all()
