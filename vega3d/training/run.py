"""From settings to a trained model: loads the parts, puts them together, trains, and can be killed.

The same command starts a run and continues it: the last whole checkpoint in ``trainer.output_dir`` is taken
up, a half-written or damaged one is named and left alone. One process works in the folder, for one run; see
``same_run``.

This module decides nothing about models or data; it only calls who does.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import vega3d._torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TrainingArguments, set_seed

from vega3d import checkpoint, files
from vega3d.adapter import Vega3DAdapter, load_backbone, load_streams
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import ConfigError, DependencyError, HostError
from vega3d.pico import PICO, pico_path
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureStore
from vega3d.training.arguments import training_arguments
from vega3d.training.collator import Collator
from vega3d.training.config import ModelSettings, TrainConfig
from vega3d.training.order import StreamedBlocks
from vega3d.training.recipes import prepared
from vega3d.training.rows import load_rows, load_stream
from vega3d.training.same_run import FINAL, RunRecord, started
from vega3d.training.trainer import Vega3DTrainer


def train(config: TrainConfig) -> Path:
    """Run a config to its end; returns the folder of the trained model.

    Raises:
        Vega3DError: a setting, a row or a file does not fit; says which.
    """
    arguments = training_arguments(config)
    with started(config, arguments) as checkpoint_folder:  # before anything large is loaded
        trainer = make_trainer(config, *load_parts(config, arguments.seed), arguments)
        return _trained(trainer, config, checkpoint_folder)


def load_parts(config: TrainConfig, seed: int) -> tuple[Vega3DAdapter, Vega3DProcessor]:
    """The untrained adapter (or that of a checkpoint), and its processor with the store.

    Random numbers are seeded after host and encoders are loaded: loading them uses some up, and projector and
    fusion have to start alike whether a generator is loaded or all features are stored.
    """
    own, tensors = settings_of(config.model)
    store = FeatureStore(config.store.path) if config.store.path is not None else None
    if store is not None and config.store.only:
        settings = dataclasses.replace(own.backbone, channels=store.backbone["channels"])
        own = dataclasses.replace(own, backbone=settings)
    host = load_host(own.host, config.model, precision_of(config), quantization_of(config))
    backbone = None if config.store.only else load_backbone(own)
    streams = load_streams(own)
    set_seed(seed)
    adapter = Vega3DAdapter(host, own, backbone, streams)
    if tensors is not None:
        checkpoint.require_same_host(own.host, adapter.vega3d_config.host)
        checkpoint.require_same_tensors(adapter.own_state(), tensors)
        adapter.load_state_dict(tensors, strict=False)
    return adapter, Vega3DProcessor.from_pretrained(str(own.host.path), adapter.vega3d_config, store=store)


def make_trainer(
    config: TrainConfig, adapter: Vega3DAdapter, processor: Vega3DProcessor, arguments: TrainingArguments
) -> Vega3DTrainer:
    """A trainer over all rows, with the adapter prepared by the recipe."""
    seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
    to_device(adapter, arguments.device)
    model: nn.Module = prepared(adapter, config.recipe, config.lora)
    if config.recipe == "full" and _is_zero_3(arguments):
        # transformers loads the host in the precision of DeepSpeed, which splits trained weights of one
        # precision only; its optimizer keeps float32 masters of all of them.
        for module in (adapter.projector, adapter.fusion):
            module.to(next(adapter.host.parameters()).dtype)
    if recomputes(arguments):
        adapter.enable_input_require_grads()
    collator = Collator(processor, max_length=config.max_length, overlong=config.overlong)
    return Vega3DTrainer(
        new_lr=config.new_modules_lr,
        batch_by=config.batch_by,
        model=model,
        args=arguments,
        train_dataset=train_rows(config, arguments, seed),
        eval_dataset=load_rows(config.eval_data, config.sampling, seed) if config.eval_data else None,
        data_collator=collator,
    )


def train_rows(config: TrainConfig, arguments: TrainingArguments, seed: int) -> Any:
    """All rows of an epoch, or a stream of them.

    Raises:
        ConfigError: a stream without ``trainer.max_steps``, or by length.
    """
    if not config.data[0].streaming:
        return load_rows(config.data, config.sampling, seed, config.epoch_rows)
    if arguments.max_steps <= 0 or config.batch_by != "random":
        raise ConfigError(
            "A stream cannot be trained on in this way: nobody knows how much is in it.",
            got=f"{arguments.max_steps} steps, batch_by={config.batch_by}",
            expected="trainer.max_steps and random batches",
            fix="set trainer.max_steps, or download the data set and leave streaming out",
        )
    arguments.accelerator_config.dispatch_batches = False  # each process reads; plans are no tensors to send
    stream = load_stream(config.data, config.sampling, seed)
    if not arguments.deepspeed:
        return stream
    return StreamedBlocks(stream, arguments.train_batch_size * arguments.world_size)


def _is_zero_3(arguments: TrainingArguments) -> bool:
    plugin = arguments.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3


def recomputes(arguments: TrainingArguments) -> bool:
    """Whether activations are computed again in the backward pass, by the option's old or new name."""
    return any(getattr(arguments, f"{kind}_checkpointing", False) for kind in ("gradient", "activation"))


def to_device(adapter: Vega3DAdapter, device: torch.device) -> None:
    """Move the frozen encoders, which no trainer knows of."""
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
    with started(config, trainer.args) as checkpoint_folder:
        return _trained(trainer, config, checkpoint_folder)


def _trained(trainer: Vega3DTrainer, config: TrainConfig, checkpoint_folder: Path | None) -> Path:
    folder = Path(trainer.args.output_dir)
    trainer.add_callback(RunRecord(config, folder))
    trainer.train(resume_from_checkpoint=None if checkpoint_folder is None else str(checkpoint_folder))
    with files.writing(folder / FINAL):
        trainer.save_model(str(folder / FINAL))
    return folder / FINAL


def load_host(
    host: HostConfig,
    settings: ModelSettings,
    dtype: torch.dtype | Literal["auto"],
    quantization: Any = None,
) -> nn.Module:
    """The host in a precision and with the attention that the settings name.

    Raises:
        HostError: it cannot be loaded.
    """
    try:
        model: nn.Module = AutoModelForImageTextToText.from_pretrained(
            host.path,
            revision=host.revision,
            dtype=dtype,
            attn_implementation=settings.attention,
            **({} if quantization is None else {"quantization_config": quantization}),
        )
    except (OSError, ImportError, ValueError) as error:
        raise HostError(
            f"The host {host.path!r} cannot be loaded.",
            got=str(error).splitlines()[0],
            expected="a folder or hub id of a Qwen-VL, and an attention that is installed",
            fix="check model.host and model.attention; offline, download it first and pass the folder",
        ) from error
    return model


def quantization_of(config: TrainConfig) -> Any:
    """QLoRA's settings for transformers; None without it. The vision tower and the head stay as they are.

    Raises:
        DependencyError: there is no GPU, or bitsandbytes is not installed.
        ConfigError: ZeRO-3, which splits weights that cannot be split in 4 bits.
    """
    if config.lora.quantize is None:
        return None
    has_package = importlib.util.find_spec("bitsandbytes") is not None
    if not torch.cuda.is_available() or not has_package:
        raise DependencyError(
            "QLoRA needs a GPU and bitsandbytes.",
            got=f"{'a' if torch.cuda.is_available() else 'no'} GPU, bitsandbytes {has_package}",
            expected="both",
            fix="pip install 'vega3d[qlora]' on a machine with a GPU, or leave lora.quantize out",
        )
    return qlora_settings()


def qlora_settings() -> BitsAndBytesConfig:
    """NF4 with double quantization, computing in bfloat16, as QLoRA (arXiv 2305.14314) has it."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["visual", "lm_head"],
    )


def precision_of(config: TrainConfig) -> torch.dtype | Literal["auto"]:
    """Of the host; weights that are trained are float32, or an update would be lost in rounding.

    Raises:
        ConfigError: the full recipe with weights in bfloat16, and nobody keeps masters.
    """
    named, has_masters = config.model.dtype, config.trainer.get("deepspeed") is not None
    if config.recipe == "full" and not has_masters:
        if named not in ("auto", "float32"):
            raise ConfigError(
                "Most updates of these weights would be lost in rounding.",
                got=f"recipe full with model.dtype={named}",
                expected="float32 weights: bfloat16 knows a weight to 0.4 %, and a step of lr 1e-5 is less",
                fix="model.dtype=float32 with trainer.bf16=true, or trainer.deepspeed=... (it keeps masters)",
            )
        return torch.float32
    return "auto" if named == "auto" else getattr(torch, named)


def settings_of(model: ModelSettings) -> tuple[Vega3DConfig, dict[str, Any] | None]:
    """Of the wrapped model, from a checkpoint or new; ``pico`` is the shipped one."""
    saved, tensors = _saved(model.checkpoint) if model.checkpoint is not None else (None, None)
    record = saved.to_dict() if saved is not None else Vega3DConfig().to_dict()
    given = {**model.backbone}
    if given.get("path") == PICO:
        given["path"] = str(pico_path("wan"))
    same = given.get("type", record["backbone"]["type"]) == record["backbone"]["type"]
    record["backbone"] = {**record["backbone"], **given} if same else given
    if model.fusion is not None:
        record["fusion"] = {"type": model.fusion} if isinstance(model.fusion, str) else model.fusion
    if model.semantic_streams:
        record["semantic_streams"] = list(model.semantic_streams)
    if model.marks is not None:
        record["marks"] = model.marks
    if model.host is not None:
        path = str(pico_path("host")) if model.host == PICO else model.host
        record["host"] = {**record["host"], "path": path, "revision": model.revision}
    return Vega3DConfig.from_dict(record), tensors


def _saved(path: str) -> tuple[Vega3DConfig, dict[str, Any]]:
    """A checkpoint to start from; one whose host was trained too would lose that without a sound."""
    if checkpoint.lora_of(path) is not None:
        raise ConfigError(
            "The checkpoint to start from also holds LoRA of its host.",
            got=f"{path} with lora/",
            expected="a checkpoint of projector and fusion alone, or a run to resume",
            fix=f"make it one host first: vega3d merge {path} OUT, then model.checkpoint=OUT",
        )
    config, tensors = checkpoint.load(path)
    checkpoint.require_own_host(path, config)
    return config, tensors
