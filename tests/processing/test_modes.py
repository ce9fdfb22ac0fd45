"""In every mode the generator gets the frames that it asks for, and the model takes them as they are."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from tests import media, processors, tiny
from tests.processing.helpers import OURS, image, user, video
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.backbones.wan.config import Mode
from vega3d.errors import InputError
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor

MODES = get_args(Mode)
GOLDENS = Path(__file__).parents[1] / "goldens" / "wan" / "diffusers"


@pytest.fixture(scope="module")
def vace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vace") / "vace"
    shutil.copytree(GOLDENS / "transformer_vace", folder / "transformer")
    shutil.copytree(GOLDENS / "vae", folder / "vae")
    return folder


def backbone(vace_folder: Path, **changes: Any) -> WanBackbone:
    config = WanConfig(**{"block": 1, "pixels": 48 * 48, **changes})
    if config.mode.startswith("vace"):
        return WanBackbone.from_pretrained(vace_folder, config=config, prompt_embeds=torch.ones(1, 32))
    return WanBackbone.from_pretrained(pico_path("wan"), config=config)


def wrapped(wan: WanBackbone) -> tuple[Any, Vega3DProcessor, Vega3DAdapter]:
    """A tiny host, the processor of the same settings, and the wrapped host."""
    host = tiny.qwen2_5_vl().eval()
    config = Vega3DConfig(backbone=wan.config)
    processor = processors.host_processor("qwen2_5_vl", host.config.vision_config.patch_size)
    return host, Vega3DProcessor(processor, config), Vega3DAdapter(host, config, wan).eval()


@pytest.mark.parametrize(
    ("changes", "numbers", "runs"),
    [
        ({"mode": "frame"}, [0, 11], ((0,), (1,))),
        ({"mode": "window"}, [0, 7, 8, 9, 10, 11], ((0, 0, 0, 0, 0), (1, 2, 3, 4, 5))),
        ({"mode": "joint"}, [0, 11], ((0, 1),)),
        ({"mode": "clip"}, [0, 11], ((0, 1),)),
        ({"mode": "clip", "extra_frames": 3}, [0, 3, 6, 8, 11], ((0, 1, 2, 3, 4),)),
        ({"mode": "vace_no_reference"}, [0, 11], ((0,), (1,))),
        ({"mode": "vace_reference"}, [0, 11], ((0, 0), (0, 1))),
    ],
    ids=str,
)
def test_the_generator_gets_the_frames_of_its_mode(
    changes: dict[str, Any], numbers: list[int], runs: tuple[tuple[int, ...], ...], clip: str
) -> None:
    host = processors.host_processor("qwen2_5_vl", 14)
    processor = Vega3DProcessor(host, Vega3DConfig(backbone=WanConfig(**changes)))
    batch = processor.apply_chat_template(user(video(clip, nframes=2), "?"))
    assert [media.number_of(frame) for frame in batch["generative_clips"][0].frames] == numbers
    assert batch["generative_clips"][0].plan.runs == runs
    assert batch["generative_clips"][0].plan.host == (0, 11)


@pytest.mark.exact
@pytest.mark.parametrize("mode", MODES)
def test_a_mixed_batch_of_every_mode_starts_as_the_host(mode: Mode, vace_folder: Path, clip: str) -> None:
    host, processor, adapter = wrapped(backbone(vace_folder, mode=mode))
    rows = [
        user(image(media.photo(), clip="a"), image(media.photo(seed=1), clip="a"), "Same place?"),
        user(video(clip, nframes=4), image(media.photo(50, 70)), "And?"),
        user(video([media.frame(number) for number in range(3)], fps=2.0), "An odd number."),
    ]
    batch = processor.apply_chat_template(rows)
    own = {key: value for key, value in batch.items() if key not in OURS}
    with torch.no_grad():
        assert torch.equal(adapter(**batch).logits, host(**own).logits)
        reports = adapter.encode(**batch).reports
    assert len(reports) == 5
    assert all(report.gate.isfinite().all() for report in reports)


@pytest.mark.parametrize("mode", MODES)
def test_videos_without_plans_are_planned_by_the_mode(mode: Mode, vace_folder: Path) -> None:
    wan = backbone(vace_folder, mode=mode)
    host = tiny.make_host("qwen2_5_vl")
    adapter = Vega3DAdapter(host, Vega3DConfig(), wan).eval()
    batch = tiny.make_batch(host, [[("video", 5, 4, 6)], [("image", 1, 4, 4)]])
    with torch.no_grad(), pytest.warns(DeprecationWarning, match="generative_videos"):
        logits = adapter(**tiny.as_tensors(batch)).logits
    assert torch.equal(logits, host(**tiny.for_host(batch)).logits)


def test_a_processor_of_another_mode_is_told_so(vace_folder: Path, clip: str) -> None:
    _, processor, _ = wrapped(backbone(vace_folder))
    host = tiny.qwen2_5_vl().eval()
    adapter = Vega3DAdapter(host, Vega3DConfig(), backbone(vace_folder, mode="window"))
    batch = processor.apply_chat_template(user(video(clip, nframes=4), "?"))
    with pytest.raises(InputError, match=r"mode 'window'(?s:.)*same config"):
        adapter.encode(**batch)


@pytest.mark.parametrize("branch", ["vsi", "3d"])
def test_a_released_branch_runs_end_to_end(branch: Any, clip: str) -> None:
    config = Vega3DConfig.reference(branch, block=1, size=(64, 48), path=str(pico_path("wan")))
    host = tiny.make_host("qwen2_5_vl")
    adapter = Vega3DAdapter.wrap(host, config).eval()
    processor = Vega3DProcessor(processors.host_processor("qwen2_5_vl", 14), adapter.vega3d_config)
    batch = processor.apply_chat_template(user(video(clip, nframes=4), "?"))
    with torch.no_grad():
        encoding = adapter.encode(**batch)
    assert encoding.maps[0].resampling == "bilinear"
    assert encoding.maps[0].features.shape[2:] == ((14, 14) if branch == "3d" else (3, 4))
    assert adapter.vega3d_config.fusion.type == f"released_{branch}"
    assert Vega3DConfig.from_dict(adapter.vega3d_config.to_dict()) == adapter.vega3d_config


def test_how_it_is_run_may_differ_from_the_config_but_not_what_it_computes(vace_folder: Path) -> None:
    wan = backbone(vace_folder)
    asked = dataclasses.replace(wan.config, residual_dtype="model")
    assert (
        Vega3DAdapter(tiny.qwen2_5_vl(), Vega3DConfig(backbone=asked), wan).vega3d_config.backbone
        == wan.config
    )
