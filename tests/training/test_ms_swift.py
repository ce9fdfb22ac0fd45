"""The plug-in for ms-swift: its tuner and its templates around an unchanged host."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from tests import media
from tests.training import swift_stub
from vega3d import Vega3DAdapter, Vega3DConfig, Vega3DProcessor
from vega3d.hosts.loading import load_host
from vega3d.pipeline import Source
from vega3d.training.trained import adapter_of

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "train" / "ms_swift.py"
VERSION = "4.6.0"
PICO = {"path": "pico", "block": 1, "pixels": 2304}
CONFIG = Source(Vega3DConfig()).with_settings({"host": {"path": "pico"}, "backbone": PICO}).config
VIDEO = "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>What?<|im_end|>\n"
IMAGE = VIDEO.replace("video_pad", "image_pad")


@pytest.fixture(scope="module")
def plugin() -> Any:
    """The file, imported as `--external_plugins` imports it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in swift_stub.modules().items():
            patch.setitem(sys.modules, name, module)
        patch.setenv("VEGA3D_BACKBONE", "pico")
        patch.setenv("VEGA3D_SETTINGS", "block=1 pixels=2304")
        spec = importlib.util.spec_from_file_location("_swift_external_vega3d", PLUGIN)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def host() -> Any:
    loaded = load_host(CONFIG.host, dtype=torch.float32)
    loaded.model_meta = SimpleNamespace(model_type="qwen2_5_vl")
    return loaded


@pytest.fixture(scope="module")
def tuned(plugin: ModuleType) -> Any:
    arguments = SimpleNamespace(lora_rank=4, lora_alpha=8, lora_dropout=0.0)
    torch.manual_seed(0)
    return plugin.tuners_map["vega3d"].prepare_model(arguments, host()).eval()


def batch_of(processor: Any, *rows: swift_stub.Inputs) -> dict[str, Any]:
    """The inputs of the model: encoded, collated, and through the hook before `forward`."""
    template = swift_stub.TEMPLATE_MAPPING["vega3d_qwen2_5_vl"].template_cls(processor)
    collated = template._data_collator([template._encode(row) for row in rows])
    return template._post_encode(torch.nn.Identity(), collated)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def processor() -> Vega3DProcessor:
    return Vega3DProcessor.from_pretrained(str(CONFIG.host.path), CONFIG)


def clip(seed: int = 0) -> torch.Tensor:
    frames = [media.photo(56, 56, seed=seed + number) for number in range(4)]
    return torch.stack([torch.as_tensor(np.array(frame)).permute(2, 0, 1) for frame in frames])


def test_the_plug_in_registers_a_tuner_and_a_template_for_each_host(plugin: ModuleType) -> None:
    assert plugin.tuners_map["vega3d"] is plugin.Vega3DTuner
    names = {f"vega3d_{name}" for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")}
    assert names <= set(swift_stub.TEMPLATE_MAPPING)


def test_the_tuner_wraps_the_host_and_trains_projector_fusion_and_lora(tuned: Any) -> None:
    assert isinstance(tuned, PeftModel)
    assert isinstance(adapter_of(tuned), Vega3DAdapter)
    assert tuned.model_meta.model_type == "qwen2_5_vl"  # ms-swift reads it from the model
    trained = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(any(part in name for part in ("projector.", "fusion.", ".lora_")) for name in trained)


def test_the_template_gives_the_generator_the_frames_that_the_host_gets(
    tuned: Any, processor: Vega3DProcessor
) -> None:
    frames = clip()
    batch = batch_of(processor.processor, swift_stub.Inputs(VIDEO, videos=[frames]))
    (made,) = batch["generative_clips"]
    assert list(batch)[-1] == "generative_clips"
    assert torch.equal(made.frames, frames)
    ours = processor(VIDEO, videos=[frames], fps=swift_stub.FPS, do_sample_frames=False)
    _perturb(tuned)
    with torch.no_grad():
        assert torch.equal(tuned(**batch).logits, tuned(**ours).logits)


def test_rows_with_pictures_and_videos_are_numbered_over_the_batch(
    tuned: Any, processor: Vega3DProcessor
) -> None:
    picture = media.photo(56, 56, seed=7)
    row = swift_stub.Inputs(IMAGE + VIDEO, images=[picture], videos=[clip()])
    again = swift_stub.Inputs(IMAGE + VIDEO, images=[picture], videos=[clip()])
    clips = batch_of(processor.processor, row, again)["generative_clips"]
    assert [(one.modality, one.items) for one in clips] == [
        ("image", (0,)),
        ("image", (1,)),
        ("video", (0,)),
        ("video", (1,)),
    ]


def test_a_row_of_text_has_no_clips(processor: Vega3DProcessor, tuned: Any) -> None:
    batch = batch_of(processor.processor, swift_stub.Inputs("<|im_start|>user\nWhat?<|im_end|>\n"))
    assert "generative_clips" not in batch


def test_a_saved_model_is_a_checkpoint_and_answers_the_same_when_loaded(
    plugin: ModuleType, tuned: Any, processor: Vega3DProcessor, tmp_path: Path
) -> None:
    _perturb(tuned)
    plugin.Vega3DTuner.save_pretrained(tuned, str(tmp_path), state_dict=None, safe_serialization=True)
    loaded = plugin.Vega3DTuner.from_pretrained(host(), str(tmp_path), is_trainable=False)
    batch = batch_of(processor.processor, swift_stub.Inputs(VIDEO, videos=[clip()]))
    ours = Vega3DAdapter.from_pretrained(tmp_path, host()).eval()
    with torch.no_grad():
        expected = tuned(**batch).logits
        assert torch.equal(loaded(**batch).logits, expected)
        assert torch.allclose(ours(**batch).logits, expected, atol=1e-5)


def _perturb(tuned: Any) -> None:
    """Projector and LoRA away from the identity, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(tuned.named_parameters()):
            if parameter.requires_grad:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))


# ---------------------------------------------------------------- the released package


def signatures(source: str) -> dict[str, list[str]]:
    """Argument names of all functions and methods of a file, by name (`Class.method`)."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                arguments = [*inner.args.args, *inner.args.kwonlyargs]
                found[owner + inner.name] = [argument.arg for argument in arguments]
    return found


@pytest.mark.full
def test_the_released_package_has_the_interface_of_the_stub(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"ms-swift=={VERSION}"]
    subprocess.run([*command, "--dest", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:

        def of(name: str) -> dict[str, list[str]]:
            return signatures(archive.read(f"swift/{name}").decode())

        stub = signatures((ROOT / "tests" / "training" / "swift_stub.py").read_text(encoding="utf-8"))
        tuner, base, qwen = (
            of("tuner_plugin/base.py"),
            of("template/base.py"),
            of("template/templates/qwen.py"),
        )
        for method in ("prepare_model", "save_pretrained", "from_pretrained"):
            assert tuner[f"Tuner.{method}"] == stub[f"Tuner.{method}"]
        for method in ("_encode", "_data_collator", "_post_encode"):
            released = qwen.get(f"Qwen2VLTemplate.{method}", base[f"Template.{method}"])
            assert released == stub[f"Qwen2VLTemplate.{method}"]
        assert of("template/register.py")["register_template"] == stub["register_template"]
        names = archive.read("swift/tuner_plugin/mapping.py").decode()
        assert "tuners_map = {" in names
        text = archive.read("swift/template/templates/qwen.py").decode()
        for name in ("Qwen2VLTemplate", "Qwen2_5VLTemplate", "Qwen3VLTemplate", "QwenTemplateMeta"):
            assert f"class {name}(" in text
        arguments = archive.read("swift/arguments/base_args/base_args.py").decode()
        assert "external_plugins: List[str]" in arguments
