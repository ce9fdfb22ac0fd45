"""Both layouts load strictly; whatever is wrong with a folder is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from tests.backbones.conftest import GOLDEN, LAYOUTS, PICO, random_frames
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan import prompt
from vega3d.checkpoint import record
from vega3d.errors import BackboneError, CheckpointError, ConfigError
from vega3d.pico import pico_path

DIT = "diffusion_pytorch_model.safetensors"
EMBEDS = torch.zeros(1, 32)


def copy(folders: dict[str, Path], layout: str, tmp_path: Path) -> tuple[Path, Path]:
    """A copy that may be broken: the folder, and where its transformer lies."""
    folder = Path(shutil.copytree(folders[layout], tmp_path / layout))
    return folder, folder / "transformer" if layout == "diffusers" else folder


def load(folder: Path, **changes: object) -> WanBackbone:
    return WanBackbone.from_pretrained(folder, **({"config": GOLDEN, "prompt_embeds": EMBEDS} | changes))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sharded_weights_give_the_same_feature(
    layout: str, folders: dict[str, Path], wans: dict[str, WanBackbone], tmp_path: Path
) -> None:
    folder, home = copy(folders, layout, tmp_path)
    tensors = load_file(home / DIT)
    names = sorted(tensors)
    shards = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, home / file)
    weight_map = {name: file for file, own in shards.items() for name in own}
    (home / f"{DIT}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (home / DIT).unlink()
    loaded = load(folder, prompt_embeds=wans[layout].prompt_embeds)
    assert torch.equal(loaded([random_frames(1)])[0].features, wans[layout]([random_frames(1)])[0].features)


def test_weights_under_any_name_are_found_in_an_original_folder(
    folders: dict[str, Path], wans: dict[str, WanBackbone], tmp_path: Path
) -> None:
    folder, home = copy(folders, "original", tmp_path)
    (home / DIT).rename(home / "wan2.1_t2v_1.3B.safetensors")
    save_file({"prompt_embeds": wans["original"].prompt_embeds}, home / "prompt_embeds.safetensors")
    loaded = WanBackbone.from_pretrained(folder, config=GOLDEN)
    assert torch.equal(
        loaded([random_frames(1)])[0].features, wans["original"]([random_frames(1)])[0].features
    )


def test_a_precision_that_wan_is_not_run_in_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="float16"):
        load(folders["diffusers"], dtype=torch.float16)


def test_the_vae_is_also_read_from_the_published_pth(
    folders: dict[str, Path], wans: dict[str, WanBackbone], tmp_path: Path
) -> None:
    folder, home = copy(folders, "original", tmp_path)
    vae = home / "Wan2.1_VAE.safetensors"
    torch.save(load_file(vae), home / "Wan2.1_VAE.pth")
    vae.unlink()
    pictures = torch.rand(1, 3, 32, 48)
    assert torch.equal(load(folder).latents(pictures), wans["original"].latents(pictures))


def test_settings_that_an_original_config_leaves_out_come_from_shapes(
    folders: dict[str, Path], wans: dict[str, WanBackbone], tmp_path: Path
) -> None:
    folder, home = copy(folders, "original", tmp_path)
    (home / "config.json").write_text(json.dumps({"model_type": "t2v", "num_heads": 4}))
    assert dict(load(folder).dit.config) == dict(wans["original"].dit.config)


def test_dimensions_of_the_vae_come_from_shapes(wans: dict[str, WanBackbone]) -> None:
    names = ("base_dim", "z_dim", "dim_mult", "num_res_blocks", "temperal_downsample")
    read, stored = (wans[layout].vae.config for layout in ("original", "diffusers"))
    assert [list(read[n]) if n == "dim_mult" else read[n] for n in names] == [stored[n] for n in names]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_out_of_range_names_the_range(layout: str, folders: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"block=6(?s:.)*0\.\.5"):
        load(folders[layout], config=WanConfig(block=6))


def test_a_block_that_was_not_kept_is_refused(pico: WanBackbone) -> None:
    with pytest.raises(BackboneError, match=rf"0\.\.{PICO.block}"):
        pico.hidden_states(torch.zeros(1, 16, 1, 4, 4), blocks=[PICO.block + 1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_tensor_is_named(layout: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder, home = copy(folders, layout, tmp_path)
    tensors = load_file(home / DIT)
    del tensors["blocks.1.ffn.net.2.bias" if layout == "diffusers" else "blocks.1.ffn.2.bias"]
    save_file(tensors, home / DIT)
    with pytest.raises(CheckpointError, match=r"missing \['blocks\.1\.ffn\.net\.2\.bias'\]"):
        load(folder)


def test_an_unexpected_tensor_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder, home = copy(folders, "diffusers", tmp_path)
    save_file(load_file(home / DIT) | {"extra.weight": torch.zeros(1)}, home / DIT)
    with pytest.raises(CheckpointError, match=r"unexpected \['extra\.weight'\]"):
        load(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_file_is_named(layout: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder, home = copy(folders, layout, tmp_path)
    (home / DIT).write_bytes((home / DIT).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"Cannot read .*{DIT}"):
        load(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pickled_transformer_is_refused(layout: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder, home = copy(folders, layout, tmp_path)
    torch.save(load_file(home / DIT), home / "diffusion_pytorch_model.bin")
    (home / DIT).unlink()
    with pytest.raises(CheckpointError, match=r"pickle(?s:.)*diffusion_pytorch_model\.bin"):
        load(folder)


def test_code_hidden_in_the_vaes_pth_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    folder, home = copy(folders, "original", tmp_path)
    (home / "Wan2.1_VAE.safetensors").unlink()
    torch.save({"x": Evil()}, home / "Wan2.1_VAE.pth")
    with pytest.raises(CheckpointError, match=r"Cannot read .*Wan2\.1_VAE\.pth"):
        load(folder)
    assert not (tmp_path / "owned").exists()


def test_a_vace_is_not_run_as_text_to_video(vace_folders: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"VACE(?s:.)*vace_no_reference"):
        load(vace_folders["diffusers"])


def test_a_text_to_video_wan_is_not_run_as_a_vace(folders: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"text-to-video(?s:.)*mode='frame'"):
        load(folders["original"], config=dataclasses.replace(GOLDEN, mode="vace_reference"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("block", "kept"), [(0, [0]), (1, [0]), (2, [0, 2]), (3, [0, 2]), (4, [0, 2, 4])])
def test_only_control_blocks_up_to_the_block_are_kept(
    layout: str, block: int, kept: list[int], vace_folders: dict[str, Path]
) -> None:
    config = dataclasses.replace(GOLDEN, mode="vace_no_reference", block=block)
    loaded = load(vace_folders[layout], config=config)
    assert list(loaded.dit.config.vace_layers) == kept
    assert (len(loaded.dit.vace_blocks), len(loaded.dit.blocks)) == (len(kept), block + 1)


def test_a_vace_whose_config_lost_its_layers_is_refused(
    vace_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder, home = copy(vace_folders, "diffusers", tmp_path)
    config = json.loads((home / "config.json").read_text()) | {"vace_layers": [0, 2]}
    (home / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="3 control blocks"):
        load(folder, config=dataclasses.replace(GOLDEN, mode="vace_reference"))


def test_an_unknown_attention_back_end_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        load(folders["diffusers"], config=dataclasses.replace(GOLDEN, attention="nonsense"))


def test_the_attention_back_end_is_chosen_by_name(
    folders: dict[str, Path], golden: dict[str, torch.Tensor]
) -> None:
    plain, named = (
        load(
            folders["diffusers"],
            config=dataclasses.replace(GOLDEN, attention=name),
            prompt_embeds=golden["prompt"],
        )
        for name in (None, "_native_math")
    )
    assert named.attention == "_native_math"
    latents = golden["t2v_latent"]
    assert torch.allclose(named.hidden_states(latents)[4], plain.hidden_states(latents)[4], atol=1e-4)


def test_a_path_that_is_nowhere_is_named() -> None:
    with pytest.raises(BackboneError, match="no/such/wan"):
        WanBackbone.from_pretrained("no/such/wan")


def test_sigma_outside_its_range_is_refused_with_the_likely_meaning() -> None:
    with pytest.raises(ConfigError, match=r"sigma=0\.3"):
        WanConfig(sigma=300)


def test_without_the_prompts_embedding_the_command_is_named(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEGA3D_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"vega3d prompt-embedding(?s:.)*11 GB"):
        WanBackbone.from_pretrained(folders["diffusers"], config=GOLDEN)


def test_an_embedding_of_another_width_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"\(m, 32\)"):
        load(folders["diffusers"], prompt_embeds=torch.zeros(1, 31))


def test_the_computed_embedding_is_the_non_pad_token_and_is_found_again(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEGA3D_CACHE", str(tmp_path / "cache"))
    folder, _ = copy(folders, "diffusers", tmp_path)
    settings = UMT5Config(vocab_size=8, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    encoder = UMT5EncoderModel(settings).eval()
    encoder.save_pretrained(folder / "text_encoder")
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    tokenizer.save_pretrained(folder / "tokenizer")
    file = prompt.compute_prompt_embeds(folder)
    with torch.no_grad():
        expected = encoder(input_ids=torch.tensor([[1]])).last_hidden_state[0]
    found = WanBackbone.from_pretrained(folder, config=GOLDEN).prompt_embeds
    assert file.is_relative_to(tmp_path / "cache")
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_exact_and_the_reference_preset_differ_as_documented() -> None:
    exact, released = WanConfig(), WanConfig.reference()
    assert (exact.resize, exact.schedule, released.resize, released.schedule) == (
        "fit",
        "exact",
        "center_crop",
        "released",
    )


TRUE = {
    "1.3B": ({"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960}, 30, 1.419e9, 0.975e9),
    "14B": ({"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824}, 40, 14.3e9, 7.39e9),
}


@pytest.mark.parametrize("name", TRUE)
def test_at_true_size_the_parameters_are_those_of_the_published_models(name: str) -> None:
    settings, layers, total, kept = TRUE[name]
    with torch.device("meta"):
        model = WanTransformer3DModel(**settings, num_layers=layers)
    blocks = sum(p.numel() for block in model.blocks[:21] for p in block.parameters())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(total, rel=0.01)
    assert blocks == pytest.approx(kept, rel=0.01)


def test_a_saved_config_names_the_weights_and_their_width(pico: WanBackbone) -> None:
    assert pico.spec.config.path == str(pico_path("wan"))
    assert pico.spec.channels == pico.spec.config.channels == 128
    assert record.FORMAT == (1, 3)


def test_the_vae_is_diffusers_own_class(pico: WanBackbone) -> None:
    assert isinstance(pico.vae, AutoencoderKLWan)
    assert isinstance(pico.dit, WanTransformer3DModel)
