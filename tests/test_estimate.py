"""Cost of a model, from its configuration: held to published totals, torch's counters and real runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2VLVideoProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import vega3d._utils.torchvision  # noqa: F401  (before transformers)
from tests.tiny import HOSTS, make_batch, make_host
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan.config import Mode
from vega3d.backbones.wan.shapes import DitShape, find_wan
from vega3d.costs import Estimate, Setup, estimate
from vega3d.costs.estimate import FORMS
from vega3d.costs.host import (
    HostClip,
    host_clip,
    host_parts,
    lora_parameters,
    prefill_flops,
    vision_flops,
)
from vega3d.costs.memory import peak_bytes, training_memory
from vega3d.costs.setup import size_of, with_settings
from vega3d.costs.tables import as_text
from vega3d.errors import Vega3DError
from vega3d.hosts.empty import empty_host, find_host
from vega3d.pico import pico_path

WANS = Path(__file__).parent / "goldens" / "wan"
BF16 = WanConfig(dtype="bfloat16")
TEXT_MODES = ("frame", "window", "joint", "clip")

# numParameters of Qwen/Qwen2.5-VL-*-Instruct on the hub; of the 72B only its label, "73B params", is known
HUB = {"3b": 3_754_622_976, "7b": 8_292_166_656, "32b": 33_452_718_336}

# TFLOP of Wan2.1 1.3B with its VAE on a clip, counted once with torch's FlopCounterMode on the meta device:
# VAE with single frames in 2-D, DiT of 21 blocks with cross attention in closed form, all of it.
COUNTED: dict[tuple[int, int, Mode, int], tuple[float, ...]] = {
    (832, 480, "frame", 1): (0.988, 2.892, 3.880),
    (1280, 720, "frame", 1): (2.461, 7.621, 10.082),
    (832, 480, "clip", 33): (67.13, 48.63, 115.77),
    (480, 272, "frame", 1): (0.310, 0.876, 1.186),
}


def estimated(**options: Any) -> Estimate:
    return estimate(Setup(**{"host": "3b", "frames": (1,), **options}))


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", HUB)
def test_a_published_host_has_the_parameters_that_the_hub_shows(name: str) -> None:
    assert sum(part.parameters for part in host_parts(empty_host(find_host(name)))) == HUB[name]


def test_the_largest_host_has_73_billion() -> None:
    assert sum(part.parameters for part in host_parts(empty_host(find_host("72b")))) // 10**9 == 73


def test_21_blocks_of_the_small_wan_are_975_of_its_1419_million_parameters() -> None:
    kept, whole = (estimated(config=dataclasses.replace(BF16, block=block)) for block in (20, 29))
    blocks, others = (
        [part for part in found.parts if part.name.startswith("Wan")] for found in (kept, whole)
    )
    assert blocks[0].parameters == pytest.approx(0.975e9, rel=0.001)
    assert sum(part.parameters for part in others) == pytest.approx(1.419e9, rel=0.001)


def test_the_encoder_is_counted_twice_where_it_is_kept_twice() -> None:
    found = {part.name: part for part in estimated().parts}
    assert found["VAE encoder"].parameters == pytest.approx(53.6e6, rel=0.01)
    assert found["VAE encoder in 2-D"].parameters == pytest.approx(19.3e6, rel=0.01)


@pytest.mark.parametrize("wan", ["vace-1.3b", "vace-14b"])
def test_a_vace_keeps_only_control_blocks_up_to_the_one_that_is_read(wan: str) -> None:
    names = [part.name for part in estimated(wan=wan).parts]
    assert f"Wan, {11 if wan == 'vace-1.3b' else 5} control blocks" in names


@pytest.mark.parametrize("wan", ["vace-14b", "t2v-1.3b"])
def test_weights_take_the_bytes_of_the_modules_that_a_backbone_would_hold(wan: str) -> None:
    half, full = (estimated(wan=wan, config=dataclasses.replace(BF16, dtype=d)) for d in _DTYPES)
    for one, other in zip(half.parts, full.parts, strict=True):
        assert other.size == (4 if other.name[:3] in ("Wan", "VAE", "pro", "fus") else 2) * other.parameters
        assert one.size <= other.size
    blocks = half.parts[4]  # norms and tables stay in float32, as diffusers keeps them
    assert 2 * blocks.parameters < blocks.size < 2.01 * blocks.parameters


_DTYPES = ("bfloat16", "float32")


def test_lora_of_rank_64_with_projector_and_gate_trains_180_million_of_the_7b() -> None:
    trained = {one.recipe: one.trained for one in estimated(host="7b").training}
    assert trained["lora"] - trained["align"] == pytest.approx(161e6, rel=0.005)
    assert trained["align"] == 18_360_320 + 21_505  # a LayerNorm and two layers; two LayerNorms and one
    assert trained["full"] == pytest.approx(7.63e9, rel=0.001)


@pytest.mark.parametrize("host", [*HOSTS, "7b"])
@pytest.mark.parametrize("rank", [8, 64])
def test_lora_is_counted_as_peft_makes_it(host: str, rank: int) -> None:
    from peft import LoraConfig, get_peft_model

    from vega3d.hosts import family_of

    model = make_host(host) if host in HOSTS else empty_host(find_host(host))
    counted = lora_parameters(model, rank)
    with torch.device("meta"):
        wrapped = get_peft_model(model, LoraConfig(r=rank, target_modules=family_of(model).lora_targets))
    assert counted == sum(p.numel() for name, p in wrapped.named_parameters() if "lora_" in name)


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: f"{row[0]}x{row[1]}, {row[3]} frames")
def test_the_small_wan_costs_what_was_counted(row: tuple[int, int, Mode, int]) -> None:
    width, height, mode, frames = row
    config = WanConfig(resize="center_crop", size=(width, height))
    found = estimated(frames=(frames,), modes=(mode,), config=config, size=(width, height))
    assert found.tower == (height, width)
    branch = found.clips[0].branch
    flops = [branch.flops["vae"], branch.flops["dit"], branch.total]
    assert [part / 1e12 for part in flops] == pytest.approx(COUNTED[row], rel=0.02)


def counted(run: Any) -> float:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()  # torch counts no attention of a CPU but the plain one
    return counter.get_total_flops()


@pytest.mark.parametrize("mode", TEXT_MODES)
def test_a_folder_of_a_wan_costs_what_torch_counts_when_it_runs(mode: Mode) -> None:
    config = WanConfig(mode=mode, block=3, pixels=64 * 64, max_latent_frames=3, noise_samples=2)
    found = estimated(
        host=str(pico_path("host")), wan=str(pico_path("wan")), frames=(5,), config=config, size=(96, 64)
    )
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=config)
    frames = torch.zeros(5, 3, 64, 96, dtype=torch.uint8)
    assert found.clips[0].branch.total == pytest.approx(counted(lambda: wan([frames])), rel=0.02)


@pytest.mark.parametrize("rows", [4, 10])
@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("name", HOSTS)
def test_a_host_costs_what_torch_counts_when_it_runs(name: str, kind: str, rows: int) -> None:
    host, frames = make_host(name), 1 if kind == "image" else 4
    batch = make_batch(host, [[(kind, frames, rows, 8)]])
    pixels = batch["pixel_values" if kind == "image" else "pixel_values_videos"]
    clip = HostClip(-(-frames // 2), rows, 8, 2, 0)
    text = batch["input_ids"].shape[1] - clip.visual_tokens
    clip = dataclasses.replace(clip, text=text)
    call = getattr(host, f"get_{kind}_features")
    given = {key: value for key, value in batch.items() if not key.startswith("generative_")}
    vision = counted(lambda: call(pixels, batch[f"{kind}_grid_thw"]))
    whole = counted(lambda: host(**given, logits_to_keep=1))
    assert vision_flops(host, clip) == pytest.approx(vision, rel=0.01)
    assert prefill_flops(host, clip) == pytest.approx(whole - vision, rel=0.01)


@given(height=st.integers(60, 1300), width=st.integers(60, 1300), frames=st.integers(1, 5))
def test_a_clip_becomes_as_many_tokens_as_the_processors_make(height: int, width: int, frames: int) -> None:
    video = torch.zeros(frames, 3, height, width, dtype=torch.uint8)
    found = host_clip(_TINY, Setup(size=(width, height)), frames)
    made = Qwen2VLVideoProcessor()(videos=[video], do_sample_frames=False, cap_pixels_per_frame=False)
    assert made["video_grid_thw"].tolist() == [[found.steps, found.rows, found.columns]]


@given(height=st.integers(30, 900), width=st.integers(30, 900))
def test_an_image_becomes_as_many_tokens_as_the_processor_makes(height: int, width: int) -> None:
    limit = 28 * 28 * 1280
    found = host_clip(_TINY, Setup(size=(width, height), medium="images", max_pixels=limit), 3)
    made = Qwen2VLImageProcessorPil(size={"shortest_edge": 4 * 28 * 28, "longest_edge": limit})(
        images=[torch.zeros(3, height, width, dtype=torch.uint8)], return_tensors="pt"
    )
    assert made["image_grid_thw"].tolist() == [[1, found.rows, found.columns]]
    assert found.steps == 3


_TINY = make_host("qwen2_5_vl")


# ---------------------------------------------------------------- disk and training


@pytest.mark.parametrize("mode", TEXT_MODES)
def test_stored_features_take_the_bytes_that_the_store_packs(mode: Mode) -> None:
    config = WanConfig(mode=mode, block=1, pixels=64 * 64)
    found = estimated(
        host=str(pico_path("host")),
        wan=str(pico_path("wan")),
        frames=(6,),
        config=config,
        size=(96, 64),
        max_pixels=20000,
    )
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=config)
    feature_map = wan([torch.zeros(6, 3, 64, 96, dtype=torch.uint8)])[0]
    for form in FORMS:
        packed = form.pack(form.reduce(feature_map).features)
        size = sum(tensor.nbytes for tensor in packed.values())
        assert found.clips[0].stored[form.grid][form.precision] == size


# ZeRO (arXiv 1910.02054), figure 1: 7.5 billion parameters on 64 GPUs, mixed precision with Adam, GB a GPU
@pytest.mark.parametrize(("stage", "size"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_training_takes_the_bytes_of_the_paper_on_zero(stage: int, size: float) -> None:
    assert training_memory(7_500_000_000, 0, stage, 64) / 1e9 == pytest.approx(size, abs=0.05)


@given(
    trained=st.integers(1, 10**10),
    frozen=st.integers(0, 10**11),
    gpus=st.integers(1, 512),
)
def test_no_stage_takes_more_than_the_one_before(trained: int, frozen: int, gpus: int) -> None:
    sizes = [training_memory(trained, frozen, stage, gpus) for stage in range(4)]
    assert sorted(sizes, reverse=True) == sizes
    assert sizes[0] == 16 * trained + 2 * frozen
    assert sizes[3] == -(-sizes[0] // gpus)


# ---------------------------------------------------------------- asking


def test_an_estimate_of_the_largest_pair_allocates_next_to_nothing() -> None:
    assert peak_bytes(lambda: estimated(host="72b", wan="vace-14b")) < 8 * 2**20


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_both_layouts_of_a_wan_folder_give_its_shape(layout: str) -> None:
    folder = WANS / layout if layout == "diffusers" else WANS / layout / "t2v"
    shape = DitShape(4, 12, 96, 6, text_dim=32)
    assert DitShape.from_diffusers(find_wan(str(folder))[0]) == shape


def test_the_hub_id_of_a_published_model_needs_no_network() -> None:
    wan, host = "Wan-AI/Wan2.1-T2V-14B-Diffusers", "Qwen/Qwen2.5-VL-3B-Instruct"
    by_id, by_name = estimated(wan=wan, host=host), estimated(wan="t2v-14b")
    assert (by_id.parts, by_id.clips) == (by_name.parts, by_name.clips)


def test_the_original_layout_of_a_vace_is_known_as_one() -> None:
    assert find_wan(str(WANS / "original" / "vace"))[0]["vace_layers"] == [0, 2, 4]


def test_all_modes_are_those_of_the_kind_of_wan() -> None:
    assert WanConfig("t2v-14b").modes() == TEXT_MODES
    assert WanConfig("vace-14b").modes() == ("vace_no_reference", "vace_reference")
    assert [clip.mode for clip in estimated(modes=("all",)).clips] == list(TEXT_MODES)


def test_a_vace_without_a_named_mode_runs_without_a_reference() -> None:
    found = estimated(wan="vace-1.3b")
    assert found.clips[0].mode == found.setup.config.mode == "vace_no_reference"


def test_frames_between_the_hosts_cost_the_generator_alone() -> None:
    few, many = (
        estimated(frames=(9,), config=WanConfig(mode="clip", extra_frames=extra)).clips[0] for extra in (0, 3)
    )
    assert (few.branch.encoded, many.branch.encoded) == (9, 33)
    assert (few.vision, few.prefill) == (many.vision, many.prefill)


def test_settings_are_read_from_text() -> None:
    config = with_settings(
        WanConfig(), ["mode=clip", "noise_samples=4", "size=[1280,720]", "pool=null", "sigma=0.5"]
    )
    assert config == WanConfig(mode="clip", noise_samples=4, size=(1280, 720), sigma=0.5)


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda: estimated(host="8b"), "'8b'"),
        (lambda: estimated(wan="t2v-13b"), "'t2v-1.3b'"),
        (lambda: estimated(modes=("vace_reference",)), "vace_reference"),
        (lambda: estimated(wan="vace-1.3b", modes=("clip",)), "vace_no_reference"),
        (lambda: estimated(config=WanConfig(block=30)), "block=29"),
        (lambda: estimated(frames=(0,)), "frames"),
        (lambda: estimated(frames=()), "frames"),
        (lambda: estimated(modes=("clips",)), "'clip'"),
        (lambda: estimated(device="gpu"), "'cuda'"),
        (lambda: estimated(rank=0), "rank"),
        (lambda: with_settings(BF16, ["blok=3"]), "'block'"),
        (lambda: with_settings(BF16, ["block"]), "key.sub=value"),
        (lambda: with_settings(BF16, ["noise_samples=many"]), "'noise_samples'"),
        (lambda: size_of("640"), "640x480"),
        (lambda: estimated(size=(9000, 30)), "aspect"),
    ],
)
def test_what_cannot_be_estimated_is_named_with_a_way_out(ask: Any, named: str) -> None:
    with pytest.raises(Vega3DError) as caught:
        ask()
    assert named in str(caught.value)
    assert "fix:" in str(caught.value)


def test_a_config_of_another_kind_of_model_is_no_host(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(Vega3DError, match="not a vision-language model"):
        estimated(host=str(tmp_path))


def test_the_tables_hold_every_part_recipe_and_clip() -> None:
    found = estimated(modes=("frame", "clip"), frames=(4, 8))
    text = as_text(found)
    assert all(part.name in text for part in found.parts)
    assert all(f"{one.recipe}:" in text for one in found.training)
    rows = [line.split()[:2] for line in text.splitlines()]
    assert all(rows.count([c.mode, str(c.frames)]) == 3 for c in found.clips)  # FLOPs, memory, disk
