"""A trained model, exported or merged, answers as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests import tiny
from tests.training.conftest import PICO_PROCESSOR, config
from vega3d import Vega3DAdapter
from vega3d.cli.main import main
from vega3d.errors import CheckpointError, ConfigError
from vega3d.training.export import export, merge, merge_lora
from vega3d.training.finetune import load_parts, make_trainer, run, train, training_arguments
from vega3d.training.recipes import apply_recipe
from vega3d.training.trained import plain_name, trained_of

FLOAT = {"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}}


class Run:
    """A finished run: its folder, its model and a batch."""

    def __init__(self, annotations: Path, out: Path, recipe: str) -> None:
        changes = {"max_steps": 3, "save_strategy": "no"}
        self.settings = config(annotations, out, recipe, model=FLOAT, trainer=changes)
        adapter, processor = load_parts(self.settings, 3)
        trainer = make_trainer(self.settings, adapter, processor, training_arguments(self.settings))
        self.folder = run(trainer, self.settings)
        self.batch = trainer.data_collator(trainer.train_dataset[:4])
        self.model = trainer.model.eval()

    @torch.no_grad()
    def error_of(self, model: Any) -> float:
        """Largest difference of logits from the trained model's, relative to their size."""
        expected = self.model(**self.batch).logits
        model.host.float()
        return float((model.eval()(**self.batch).logits - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module", params=["align", "lora", "full"])
def finished(
    request: pytest.FixtureRequest, annotations: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    return Run(annotations, tmp_path_factory.mktemp(request.param), request.param)


TOLERANCE = {"align": 1e-5, "lora": 1e-5, "full": 0.05}  # a full host is written in its own bfloat16


def test_an_export_answers_as_the_trained_model(finished: Run, tmp_path: Path) -> None:
    host = None if finished.settings.recipe == "full" else load_parts(finished.settings, 3)[0].host
    model = Vega3DAdapter.from_pretrained(export(finished.folder, tmp_path / "out"), host)
    assert finished.error_of(model) < TOLERANCE[finished.settings.recipe]


def test_a_merged_host_answers_as_the_trained_model(finished: Run, tmp_path: Path) -> None:
    model = Vega3DAdapter.from_pretrained(merge(finished.folder, tmp_path / "out"))
    assert finished.error_of(model) < 0.05  # the host's own bfloat16
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_merged_host_loads_without_us(finished: Run, tmp_path: Path) -> None:
    merge(finished.folder, tmp_path / "out")
    host = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "host")
    assert type(host) is type(load_parts(finished.settings, 3)[0].host)
    assert AutoProcessor.from_pretrained(tmp_path / "out" / "host").tokenizer is not None


def test_nothing_of_a_runs_own_state_is_exported(annotations: Path, tmp_path: Path) -> None:
    train(config(annotations, tmp_path / "run", trainer={"max_steps": 2}))
    export(tmp_path / "run" / "checkpoint-2", tmp_path / "out")
    names = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.*"))
    lora = ["lora/adapter_config.json", "lora/adapter_model.safetensors"]
    own = ["README.md", *lora, "vega3d_config.json", "vega3d_model.safetensors"]
    assert names == sorted([*own, *PICO_PROCESSOR])


def test_merging_equals_pefts_own(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, model=FLOAT, trainer={"max_steps": 3, "save_strategy": "no"})
    folder = train(settings)
    theirs = PeftModel.from_pretrained(load_parts(settings, 3)[0].host, folder / "lora").merge_and_unload()
    ours = load_parts(settings, 3)[0].host
    own = PeftModel.from_pretrained(load_parts(settings, 3)[0].host, folder / "lora")
    lora = {n.replace(".default", ""): p for n, p in own.named_parameters() if "lora_" in n}
    merge_lora(ours, lora, own.peft_config["default"].to_dict())
    found = dict(theirs.named_parameters())
    assert all(torch.allclose(p, found[name], atol=1e-6) for name, p in ours.named_parameters())


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("prefix", ["", "module.", "base_model.model.", "module.base_model.model."])
def test_names_are_those_of_the_bare_host_whatever_is_put_around_it(prefix: str) -> None:
    adapter = Vega3DAdapter(tiny.make_host("qwen2_5_vl"), backbone=None, config=_config())
    names = {f"{prefix}{name}" for name, _ in adapter.named_parameters()}
    assert {plain_name(name) for name in names} == {name for name, _ in adapter.named_parameters()}


def test_gathered_tensors_are_taken_instead_of_the_modules_own() -> None:
    adapter = Vega3DAdapter(tiny.make_host("qwen2_5_vl"), backbone=None, config=_config())
    model = apply_recipe(adapter, "lora")
    gathered = {f"module.{n}": torch.full_like(p, 7) for n, p in model.named_parameters() if p.requires_grad}
    found = trained_of(model, gathered)
    assert all(bool((one == 7).all()) for one in (found.own | found.lora).values())
    assert len(found.own) + len(found.lora) == len(gathered)


def _config() -> Any:
    from vega3d import Vega3DConfig, WanConfig

    return Vega3DConfig(backbone=WanConfig(channels=8))


# ---------------------------------------------------------------- what would be lost


def test_a_fully_trained_checkpoint_is_not_loaded_with_the_untrained_host(
    annotations: Path, tmp_path: Path
) -> None:
    folder = train(config(annotations, tmp_path, "full", trainer={"max_steps": 1, "save_strategy": "no"}))
    with pytest.raises(CheckpointError, match="vega3d export"):
        Vega3DAdapter.from_pretrained(folder)


def test_a_run_does_not_start_from_a_checkpoint_whose_lora_it_would_lose(
    annotations: Path, tmp_path: Path
) -> None:
    folder = train(config(annotations, tmp_path / "a", trainer={"max_steps": 1, "save_strategy": "no"}))
    with pytest.raises(ConfigError, match="vega3d merge"):
        train(config(annotations, tmp_path / "b", model={"checkpoint": str(folder)}))


def test_a_merged_model_is_what_the_next_run_starts_from(annotations: Path, tmp_path: Path) -> None:
    first = train(config(annotations, tmp_path / "a", trainer={"max_steps": 2, "save_strategy": "no"}))
    merged = merge(first, tmp_path / "merged")
    settings = config(annotations, tmp_path / "b", "align", model={"checkpoint": str(merged)})
    own = load_parts(settings, 3)[0].own_state()
    expected = Vega3DAdapter.from_pretrained(merged).own_state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in own.items())


def test_lora_of_another_host_is_refused(annotations: Path, tmp_path: Path) -> None:
    folder = train(config(annotations, tmp_path, trainer={"max_steps": 1, "save_strategy": "no"}))
    lora = PeftModel.from_pretrained(load_parts(config(annotations, tmp_path), 3)[0].host, folder / "lora")
    tensors = {n.replace(".default", ""): p for n, p in lora.named_parameters() if "lora_" in n}
    with pytest.raises(CheckpointError, match="do not belong"):
        merge_lora(tiny.make_host("qwen2_5_vl"), tensors, {"r": 4, "lora_alpha": 8})


# ---------------------------------------------------------------- the commands


def test_the_commands_train_export_and_merge(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"model: {{host: pico, backbone: {{path: pico, block: 1, pixels: 2304}}}}\nrecipe: lora\n"
        f"data: [{{file: {annotations}, sampling: {{nframes: 2}}}}]\nlora: {{rank: 2}}\n"
        f"trainer: {{output_dir: {tmp_path / 'run'}, max_steps: 1, use_cpu: true, disable_tqdm: true}}\n"
    )
    assert main(["train", str(file), "--check"]) == 0
    assert "7 rows an epoch" in capsys.readouterr().out
    assert main(["train", str(file), "lora.rank=3"]) == 0
    final = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(["export", final, str(tmp_path / "out")]) == 0
    assert main(["merge", final, str(tmp_path / "merged")]) == 0
    assert (tmp_path / "out" / "lora" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "merged" / "host" / "config.json").is_file()


def test_a_wrong_setting_is_an_exit_code_and_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err
