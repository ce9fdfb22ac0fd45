"""``vega3d train`` and ``vega3d validate``: start or resume a run, or find what would stop it.

Both take ``CONFIG key.sub=value ...``. A validation writes nothing and runs nothing on a GPU.
"""

from __future__ import annotations

import argparse
import json

from vega3d.cli._command import Commands

TRAIN_EPILOG = """examples:
  vega3d rooms make --scenes 8 --split train --out out/rooms
  vega3d train configs/train/rooms_pico_lora.yaml
  vega3d train configs/train/qwen2_5_vl_3b_lora.yaml trainer.learning_rate=5e-5 store.path=features
  torchrun --nproc-per-node 8 -m vega3d.cli.main train configs/train/qwen2_5_vl_7b_full.yaml
"""
VALIDATE_EPILOG = """examples:
  vega3d validate configs/train/rooms_pico_lora.yaml
  vega3d validate configs/train/qwen2_5_vl_7b_lora.yaml data.0.root=/data/media --gpus 8 --gpu-memory 80
  vega3d validate run.yaml --rows 2000 --workers 16      open the media of 2,000 rows only

Exit code 1 if there is a problem. Nothing is written, and nothing runs on a GPU.
"""
_RATE = "TFLOP/s that each GPU is taken to reach (default: 200, assumed)"
_WEIGHTS = "load the generator too, and compare it with the store by its weights"


def add_parser(commands: Commands) -> None:
    """Register the commands."""
    add = commands.add(
        _train,
        help="fine-tune a wrapped model: projector and fusion, with LoRA, or in full",
        description="Train what a YAML file says, changed by key.sub=value. The same command continues a run "
        "that was killed. Prints the folder of the trained model.",
        epilog=TRAIN_EPILOG,
    )
    add("config", metavar="CONFIG", help="YAML file; configs/train/ has some to start from")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for example lora.rank=16")
    add("--check", action="store_true", help="read settings and rows, and stop there")
    add = commands.add(
        _validate,
        help="find everything that would stop or spoil a training run, all at once",
        description="Read all annotations, open their media, put every row together as training will, look "
        "into the store, and estimate memory, steps and hours.",
        epilog=VALIDATE_EPILOG,
    )
    add("config", metavar="CONFIG", help="YAML file of a run")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="as for vega3d train")
    add("--gpus", type=int, default=1, metavar="N", help="that the run will have (default: 1)")
    add("--gpu-memory", type=float, metavar="GIB", help="of each; more is a problem")
    add("--tflops", type=float, default=200.0, metavar="X", help=_RATE)
    add("--rows", type=int, metavar="N", help="open the media of N rows only, drawn by seed")
    add("--workers", type=int, default=0, metavar="N", help="processes that open media")
    add("--weights", action="store_true", help=_WEIGHTS)
    add("--json", action="store_true", help="print one JSON object with every problem")


def _train(arguments: argparse.Namespace) -> None:
    """Train, or only check."""
    from vega3d.training.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if not arguments.check:
        from vega3d.training.finetune import train

        print(train(config))
        return
    from vega3d.training.arguments import training_arguments
    from vega3d.training.dataset import load_rows

    made = training_arguments(config)
    rows = load_rows(config.data, config.sampling, made.seed if made.data_seed is None else made.data_seed)
    batch = made.per_device_train_batch_size * made.gradient_accumulation_steps * made.world_size
    print(f"recipe {config.recipe}, {len(rows):,} rows an epoch, {batch} to a step, into {made.output_dir}")


def _validate(arguments: argparse.Namespace) -> int:
    """Check, print, and return 1 if a run cannot start."""
    from vega3d.training.validation import Options, as_text, validate

    memory = None if arguments.gpu_memory is None else int(arguments.gpu_memory * 2**30)
    rate, rows, workers = arguments.tflops, arguments.rows, arguments.workers
    options = Options(arguments.gpus, memory, rate, rows, workers, arguments.weights)
    report = validate(arguments.config, arguments.overrides, options)
    print(json.dumps(report.to_dict(), indent=2) if arguments.json else as_text(report, options))
    return 1 if report.findings else 0
