"""SigLIP as a frozen encoder: transformers' numbers, one feature a frame, in its right place."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import SiglipConfig as FullConfig
from transformers import SiglipModel, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.adapter.siglips import SHAPE, make_tower, save_siglip
from tests.backbones.conftest import ANY_PLACE, random_frames
from vega3d import SiglipBackbone, SiglipConfig
from vega3d.backbones.siglip.weights import Preprocessing
from vega3d.errors import BackboneError, CheckpointError, ConfigError, InputError
from vega3d.grid import WHOLE, TokenGrid, resample
from vega3d.media.frame_plan import FramePlan

FRAMES = random_frames(6, 50, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def siglip(folder: Path) -> SiglipBackbone:
    return SiglipBackbone.from_pretrained(folder)


def features(backbone: SiglipBackbone, *clips: torch.Tensor) -> list[torch.Tensor]:
    return [one.features for one in backbone(list(clips))]


# -------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("layer", [-1, -2, -3, -4])
def test_each_layer_is_the_hidden_state_that_transformers_gives(layer: int, folder: Path) -> None:
    backbone = SiglipBackbone.from_pretrained(folder, config=SiglipConfig(layer=layer))
    pictures = torch.stack([backbone.prepare(frame) for frame in FRAMES])
    with torch.no_grad():
        out = SiglipVisionModel.from_pretrained(folder)(pictures, output_hidden_states=True)
    expected = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
    found = features(backbone, FRAMES)[0].flatten(2).permute(1, 2, 0)  # (C, T, h, w) -> (T, h * w, C)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "number"), [("bilinear", 2), ("bicubic", 3)])
@pytest.mark.parametrize("size", [(50, 70), (20, 31), (44, 44), (300, 44)])
def test_a_frame_is_prepared_as_by_transformers_processor(
    kernel: Any, number: int, size: tuple[int, int]
) -> None:
    frame = random_frames(1, *size)[0] // 2 + 64  # PIL also cuts off between its two passes: leave it room
    processor = SiglipImageProcessorPil(size={"height": 44, "width": 44}, resample=number)
    picture = PIL.Image.fromarray(frame.permute(1, 2, 0).numpy())
    expected = processor(picture, return_tensors="pt")["pixel_values"][0]
    found = SiglipBackbone(make_tower(), preprocessing=Preprocessing(kernel)).prepare(frame)
    assert (found - expected).abs().max() <= 2 * (2 / 255)  # PIL rounds to whole grey levels, twice


def test_the_checkpoints_own_preprocessing_is_used(tmp_path: Path) -> None:
    own = {
        "size": {"height": 44, "width": 44},
        "resample": 2,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [1, 2, 4],
    }
    backbone = SiglipBackbone.from_pretrained(save_siglip(tmp_path, preprocessing=own))
    grey = backbone.prepare(torch.full((3, 9, 9), 0.5))
    assert torch.allclose(grey.mean(dim=(1, 2)), torch.tensor([0.4, 0.15, 0.05]))
    assert backbone.preprocessing.kernel == "bilinear"


def test_without_preprocessing_siglips_own_is_used(siglip: SiglipBackbone) -> None:
    assert siglip.preprocessing == Preprocessing("bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_whole_model_gives_the_features_of_its_vision_tower(folder: Path, tmp_path: Path) -> None:
    text = {"hidden_size": 36, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    vision = SiglipVisionModel.from_pretrained(folder)
    whole = SiglipModel(FullConfig(text_config=text | ends, vision_config=vision.config.to_dict()))
    whole.vision_model.load_state_dict(vision.state_dict())
    whole.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ours = [features(SiglipBackbone.from_pretrained(path), FRAMES)[0] for path in (folder, tmp_path)]
    assert torch.equal(*ours)


# -------------------------------------------------------------------- one feature a frame


@pytest.fixture(scope="module", params=[1, 3, 4])
def batched(request: pytest.FixtureRequest, folder: Path) -> SiglipBackbone:
    return SiglipBackbone.from_pretrained(folder, config=SiglipConfig(micro_batch=request.param))


@ANY_PLACE
@pytest.mark.exact
def test_the_order_of_frames_changes_no_bit(batched: SiglipBackbone) -> None:
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    assert torch.equal(features(batched, FRAMES[order])[0], features(batched, FRAMES)[0][:, order])


@ANY_PLACE
@pytest.mark.exact
def test_what_else_is_in_the_call_changes_no_bit(batched: SiglipBackbone) -> None:
    alone = features(batched, FRAMES[:1])[0]
    others = features(batched, random_frames(2, 90, 30, seed=1), FRAMES[:1], FRAMES[1:])
    assert torch.equal(others[1], alone)


def test_float_frames_give_what_their_uint8_gives(siglip: SiglipBackbone) -> None:
    assert torch.equal(features(siglip, FRAMES / 255.0)[0], features(siglip, FRAMES)[0])


def test_a_clip_gives_one_step_a_frame_with_or_without_a_plan(siglip: SiglipBackbone) -> None:
    plan = FramePlan.together(range(6), 9)
    alone, planned = siglip(FRAMES)[0], siglip([FRAMES], [plan])[0]
    assert alone.features.shape == (36, 6, 3, 3)
    assert alone.features.dtype == torch.float32
    assert alone.frames == planned.frames == ((0,), (1,), (2,), (3,), (4,), (5,))
    assert torch.equal(alone.features, planned.features)


def test_frames_out_of_range_are_refused(siglip: SiglipBackbone) -> None:
    with pytest.raises(InputError, match="range"):
        siglip(FRAMES.float())


# -------------------------------------------------------------------- in its right place


def local_tower(image_size: int) -> SiglipBackbone:
    """A tower in which little of a patch reaches its neighbours: tested is where things lie."""
    tower = make_tower(image_size=image_size)
    with torch.no_grad():
        for block in tower.encoder.layers:
            block.self_attn.out_proj.weight.mul_(0.01)
    return SiglipBackbone(tower)


TOWERS = {side: local_tower(side) for side in (10 * 14, 11 * 14 + 6, 10 * 14 + 13)}


def peak(side: int, height: int, width: int, grid: TokenGrid, cell: tuple[int, int], **changes: Any) -> Any:
    """Row and column of the token that changes most when the pixels of one token are inverted."""
    frame = torch.nn.functional.interpolate(
        random_frames(1, 3, 4).float() / 4, (height, width), mode="bilinear"
    )
    frame = frame.to(torch.uint8)
    other = frame.clone()
    top, bottom = (round(height * at / grid.height) for at in (cell[0], cell[0] + 1))
    left, right = (round(width * at / grid.width) for at in (cell[1], cell[1] + 1))
    other[:, :, top:bottom, left:right] = 255 - other[:, :, top:bottom, left:right]
    maps = [dataclasses.replace(TOWERS[side](one)[0], **changes) for one in (frame, other)]
    tokens = [resample(one, grid, ((0,),))[:, 0] for one in maps]
    return divmod(int((tokens[1] - tokens[0]).norm(dim=-1).argmax()), grid.width)


def distance(found: tuple[int, int], cell: tuple[int, int]) -> int:
    return max(abs(found[0] - cell[0]), abs(found[1] - cell[1]))


@settings(deadline=None, max_examples=60)
@given(
    side=st.sampled_from(sorted(TOWERS)),
    height=st.integers(60, 200),
    width=st.integers(60, 200),
    rows=st.integers(2, 5),
    columns=st.integers(2, 5),
    data=st.data(),
)
def test_a_patch_is_found_at_its_token(
    side: int, height: int, width: int, rows: int, columns: int, data: st.DataObject
) -> None:
    cell = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)), "cell")
    grid = TokenGrid(((0,),), rows, columns)  # a token covers two patches or more, so one of them wholly
    assert distance(peak(side, height, width, grid, cell), cell) == 0


def test_read_as_the_whole_picture_the_same_patch_is_misplaced() -> None:
    grid, cell = TokenGrid(((0,),), 10, 10), (7, 7)
    assert distance(peak(153, 180, 140, grid, cell), cell) == 0
    assert distance(peak(153, 180, 140, grid, cell, extent=WHOLE), cell) > 0


# -------------------------------------------------------------------- identity


@pytest.mark.parametrize("change", [{"layer": -2}, {"micro_batch": 2}, {"dtype": "bfloat16"}])
def test_a_setting_that_changes_bits_changes_the_fingerprint(
    change: dict[str, Any], folder: Path, siglip: SiglipBackbone
) -> None:
    other = SiglipBackbone.from_pretrained(folder, config=SiglipConfig(**change))
    assert other.fingerprint() != siglip.fingerprint()


def test_weights_and_preprocessing_are_part_of_the_fingerprint(siglip: SiglipBackbone) -> None:
    others = [SiglipBackbone(make_tower(1)), SiglipBackbone(make_tower(), None, Preprocessing("bilinear"))]
    assert len({siglip.fingerprint(), *(other.fingerprint() for other in others)}) == 3


def test_where_it_lies_is_no_part_of_the_fingerprint(siglip: SiglipBackbone, tmp_path: Path) -> None:
    again = SiglipBackbone.from_pretrained(save_siglip(tmp_path))
    assert again.fingerprint() == siglip.fingerprint() == SiglipBackbone(make_tower()).fingerprint()


def test_the_settings_in_force_name_weights_width_and_precision(folder: Path) -> None:
    backbone = SiglipBackbone.from_pretrained(folder, dtype=torch.bfloat16)
    assert backbone.spec.name == "siglip"
    assert backbone.spec.channels == 36
    assert backbone.spec.config == SiglipConfig(path=str(folder), channels=36, dtype="bfloat16")
    assert backbone.dtype == torch.bfloat16


def test_bf16_stays_near_float32(folder: Path, siglip: SiglipBackbone) -> None:
    half = SiglipBackbone.from_pretrained(folder, dtype="bfloat16")
    exact, near = features(siglip, FRAMES)[0], features(half, FRAMES)[0]
    assert 0 < (near - exact).norm() / exact.norm() < 0.03


def test_copies_share_it_and_nothing_in_it_can_be_trained(siglip: SiglipBackbone) -> None:
    assert copy.deepcopy({"it": siglip})["it"] is siglip
    assert not any(p.requires_grad for p in siglip.parts.parameters())


@pytest.mark.parametrize(("layer", "blocks"), [(-1, 3), (-2, 2), (-4, 0)])
def test_blocks_that_are_not_run_and_the_pooling_head_are_not_kept(
    layer: int, blocks: int, folder: Path
) -> None:
    backbone = SiglipBackbone.from_pretrained(folder, config=SiglipConfig(layer=layer))
    names = set(backbone.parts.state_dict())
    assert len(backbone.parts["blocks"]) == blocks
    assert not any("head" in name for name in names)
    assert ("norm.weight" in names) == (layer == -1)


@pytest.mark.parametrize("layer", [-1, -3])
def test_the_estimated_operations_are_those_that_torch_counts(layer: int, tmp_path: Path) -> None:
    tower = make_tower()
    tower.config._attn_implementation = "eager"
    tower.config.save_pretrained(tmp_path)
    config = SiglipConfig(str(tmp_path), layer=layer)
    with FlopCounterMode(display=False) as counted:
        SiglipBackbone(tower, config).hidden_states(torch.zeros(2, 3, 44, 44))
    cost = config.cost((480, 640), 2)
    assert cost.total == counted.get_total_flops()
    assert (cost.channels, cost.steps) == (tower.config.hidden_size, 2)


def test_at_true_size_so400m_gives_27_by_27_of_1152_channels() -> None:
    shape = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )
    with torch.device("meta"):
        tower = SiglipVisionModel(shape)
        assert sum(p.numel() for p in tower.parameters()) == pytest.approx(0.43e9, rel=0.01)
        found = SiglipBackbone(tower)(torch.zeros(1, 3, 480, 640, dtype=torch.uint8))[0]
    assert found.features.shape == (1152, 1, 27, 27)
    assert found.extent == (0.0, 0.0, 378 / 384, 378 / 384)


# -------------------------------------------------------------------- what is refused


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("layer", [-5, -9])
def test_a_layer_that_does_not_exist_is_refused(layer: int, folder: Path) -> None:
    with pytest.raises(BackboneError, match=rf"Invalid layer {layer}(?s:.)*3 blocks(?s:.)*to -4"):
        SiglipBackbone.from_pretrained(folder, config=SiglipConfig(layer=layer))


def test_a_precision_that_is_not_offered_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="float16"):
        SiglipBackbone.from_pretrained(folder, dtype=torch.float16)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    edit(save_siglip(tmp_path), model_type="siglip2_vision_model")
    with pytest.raises(BackboneError, match="naflex"):
        SiglipBackbone.from_pretrained(tmp_path)


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(BackboneError, match="no/such/siglip"):
        SiglipBackbone.from_pretrained("no/such/siglip")


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    weights = save_siglip(tmp_path) / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"pickle(?s:.)*pytorch_model\.bin"):
        SiglipBackbone.from_pretrained(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    weights = save_siglip(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.safetensors"):
        SiglipBackbone.from_pretrained(tmp_path)


def test_a_missing_tensor_is_named_and_never_drawn_at_random(tmp_path: Path) -> None:
    weights = save_siglip(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.layers.1.mlp.fc1.bias"]
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.1\.mlp\.fc1\.bias"):
        SiglipBackbone.from_pretrained(tmp_path)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    edit(save_siglip(tmp_path), intermediate_size=SHAPE["intermediate_size"] + 1)
    with pytest.raises(CheckpointError, match="do not fit the model"):
        SiglipBackbone.from_pretrained(tmp_path)


@pytest.mark.parametrize("wrong", [{"size": {"height": 45, "width": 44}}, {"size": 48}, {"resample": 1}])
def test_preprocessing_of_another_tower_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: it does not fit"):
        SiglipBackbone.from_pretrained(save_siglip(tmp_path, preprocessing=wrong))
