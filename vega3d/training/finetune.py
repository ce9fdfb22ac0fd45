"""Fine-tune from a config; resumes from the last complete checkpoint in ``trainer.output_dir``.

One process (of one run) works in the folder of a run at a time, see ``same_run``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import BitsAndBytesConfig, TrainingArguments

from vega3d import pipeline
from vega3d._utils import files
from vega3d.adapter import Vega3DAdapter
from vega3d.config import Vega3DConfig
from vega3d.errors import ConfigError, DependencyError
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureStore
from vega3d.training.arguments import training_arguments
from vega3d.training.banner import Banner
from vega3d.training.branch import BranchCheck
from vega3d.training.card import write_card
from vega3d.training.collator import Collator
from vega3d.training.config import TrainConfig
from vega3d.training.dataset import load_rows, train_rows
from vega3d.training.recipes import apply_recipe
from vega3d.training.same_run import FINAL, RunRecord, started
from vega3d.training.sample_answers import SampleAnswers
from vega3d.training.trainer import Vega3DTrainer


def train(config: TrainConfig) -> Path:
    """Run a config to its end; returns the folder of the trained model.

    Raises:
        Vega3DError: a setting, a row or a file does not fit; names it.
    """
    arguments = training_arguments(config)
    with started(config, arguments) as record:  # before anything large is loaded
        return _trained(make_trainer(config, *load_parts(config, arguments.seed), arguments), record)


def load_parts(config: TrainConfig, seed: int) -> tuple[Vega3DAdapter, Vega3DProcessor]:
    """The untrained adapter (or that of a checkpoint), and its processor with the store.

    Args:
        config: of the run.
        seed: of projector and fusion.
    """
    options = {"dtype": precision_of(config), "quantization": quantization_of(config)}
    store = FeatureStore(config.store.path) if config.store.path is not None else None
    source = source_of(config).with_store(store, only=config.store.only)
    loaded = pipeline.build(source, attention=config.model.attention, seed=seed, **options)
    return loaded.adapter, loaded.processor


def source_of(config: TrainConfig) -> pipeline.Source:
    """The model that a config names, before its weights are loaded.

    Raises:
        ConfigError: a setting is wrong, or the checkpoint to start from holds LoRA.
        CheckpointError: it is damaged.
    """
    model = config.model
    source = pipeline.Source(Vega3DConfig())
    if model.checkpoint is not None:
        source = pipeline.saved(model.checkpoint)
    if source.lora is not None:
        title = "Invalid checkpoint to start from: it holds LoRA of its host, which would be lost."
        expected = "a checkpoint of projector and fusion alone, or a run to resume"
        fix = f"make it one host first: vega3d merge {model.checkpoint} OUT, then model.checkpoint=OUT"
        raise ConfigError(title, got=f"{model.checkpoint} with lora/", expected=expected, fix=fix)
    changes = {
        "backbone": model.backbone,
        "fusion": {"type": model.fusion} if isinstance(model.fusion, str) else model.fusion,
        "semantic_streams": list(model.semantic_streams) or None,
        "marks": model.marks,
        "host": {"path": model.host, "revision": model.revision} if model.host is not None else None,
    }
    return source.with_settings({name: value for name, value in changes.items() if value is not None})


def make_trainer(
    config: TrainConfig, adapter: Vega3DAdapter, processor: Vega3DProcessor, arguments: TrainingArguments
) -> Vega3DTrainer:
    """A trainer over all rows, with the adapter prepared by the recipe."""
    seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
    to_device(adapter, arguments.device)
    model: nn.Module = apply_recipe(adapter, config.recipe, config.lora)
    plugin = arguments.deepspeed_plugin
    if config.recipe == "full" and plugin is not None and plugin.zero_stage == 3:
        # transformers loads the host in the precision of DeepSpeed, which splits trained weights of one
        # precision only; its optimizer keeps float32 masters of all of them.
        for module in (adapter.projector, adapter.fusion):
            module.to(next(adapter.host.parameters()).dtype)
    if recomputes(arguments):
        adapter.enable_input_require_grads()
    trainer = Vega3DTrainer(
        new_lr=config.new_modules_lr,
        batch_by=config.batch_by,
        together=config.is_grouped,
        model=model,
        args=arguments,
        train_dataset=train_rows(config, arguments, seed),
        eval_dataset=load_rows(config.eval_data, config.sampling, seed) if config.eval_data else None,
        data_collator=Collator(processor, max_length=config.max_length, overlong=config.overlong),
    )
    if config.sample_answers.every is not None:
        rows = trainer.eval_dataset or trainer.train_dataset
        trainer.add_callback(SampleAnswers(trainer, processor, config.sample_answers, rows))
    return trainer


def recomputes(arguments: TrainingArguments) -> bool:
    """True if activations are computed again in the backward pass, by the option's old or new name."""
    return any(getattr(arguments, f"{kind}_checkpointing", False) for kind in ("gradient", "activation"))


def to_device(adapter: Vega3DAdapter, device: torch.device) -> None:
    """Move the frozen encoders, which are no part of the model that a trainer moves."""
    for encoder in (adapter.backbone, *adapter.streams):
        if encoder is not None and hasattr(encoder, "to"):
            encoder.to(device)


def run(trainer: Vega3DTrainer, config: TrainConfig) -> Path:
    """Train from the last whole checkpoint, or from the start, and write the trained model.

    Raises:
        ConfigError: the folder is in use, or holds another run.
        CheckpointError: every finished checkpoint in it is damaged.
        WriteError: the disk is full; the same command resumes.
    """
    with started(config, trainer.args) as record:
        return _trained(trainer, record)


def _trained(trainer: Vega3DTrainer, record: RunRecord) -> Path:
    trainer.add_callback(Banner(trainer, record.config, record.checkpoint))
    trainer.add_callback(BranchCheck())
    trainer.add_callback(record)
    trainer.train(resume_from_checkpoint=None if record.checkpoint is None else str(record.checkpoint))
    with files.writing(record.folder / FINAL):
        trainer.save_model(str(record.folder / FINAL))
        if trainer.args.should_save:
            write_card(record.folder / FINAL, trainer, record.config)
    return record.folder / FINAL


def quantization_of(config: TrainConfig) -> Any:
    """QLoRA's settings for transformers; None without it. The host's family completes them.

    Raises:
        DependencyError: there is no GPU, or bitsandbytes is not installed.
    """
    if config.lora.quantize is None:
        return None
    has_gpu, has_package = torch.cuda.is_available(), importlib.util.find_spec("bitsandbytes") is not None
    if not has_gpu or not has_package:
        got = f"{'a' if has_gpu else 'no'} GPU, bitsandbytes {has_package}"
        fix = "pip install 'vega3d[qlora]' on a machine with a GPU, or leave lora.quantize out"
        raise DependencyError("Missing GPU and bitsandbytes for QLoRA.", got=got, expected="both", fix=fix)
    return qlora_settings()


def qlora_settings() -> BitsAndBytesConfig:
    """NF4 with double quantization, computing in bfloat16, as QLoRA (arXiv 2305.14314) has it."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def precision_of(config: TrainConfig) -> torch.dtype | Literal["auto"]:
    """Precision of the host; weights that are trained in full are float32, or updates round to zero.

    Raises:
        ConfigError: the full recipe with weights in bfloat16 and without float32 masters.
    """
    named, has_masters = config.model.dtype, config.trainer.get("deepspeed") is not None
    if config.recipe == "full" and not has_masters:
        if named not in ("auto", "float32"):
            title = "Invalid precision: most updates of these weights would be lost in rounding."
            expected = "float32 weights: bfloat16 has 0.4 % precision, and a step of lr 1e-5 is less"
            fix = "model.dtype=float32 with trainer.bf16=true, or trainer.deepspeed=... (it keeps masters)"
            raise ConfigError(title, got=f"recipe full with model.dtype={named}", expected=expected, fix=fix)
        return torch.float32
    return "auto" if named == "auto" else getattr(torch, named)
