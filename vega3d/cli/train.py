"""``vega3d train CONFIG key.sub=value ...``: start or resume a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vega3d.training.config import TrainConfig

EPILOG = """examples:
  vega3d rooms make --scenes 8 --split train --out out/rooms
  vega3d train configs/train/rooms_pico_lora.yaml
  vega3d train configs/train/qwen2_5_vl_3b_lora.yaml trainer.learning_rate=5e-5 store.path=features
  torchrun --nproc-per-node 8 -m vega3d.cli.main train configs/train/qwen2_5_vl_7b_full.yaml
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="fine-tune a wrapped model: projector and fusion, with LoRA, or in full",
        description="Train what a YAML file says, changed by key.sub=value. The same command continues a run "
        "that was killed. Prints the folder of the trained model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="YAML file; configs/train/ has some to start from")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for example lora.rank=16")
    parser.add_argument("--check", action="store_true", help="read settings and rows, and stop there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, or only check."""
    from vega3d.training.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.check:
        return _check(config)
    from vega3d.training.finetune import train

    print(train(config))
    return 0


def _check(config: TrainConfig) -> int:
    from vega3d.training.arguments import training_arguments
    from vega3d.training.dataset import load_rows

    made = training_arguments(config)
    rows = load_rows(config.data, config.sampling, made.seed if made.data_seed is None else made.data_seed)
    batch = made.per_device_train_batch_size * made.gradient_accumulation_steps * made.world_size
    print(f"recipe {config.recipe}, {len(rows):,} rows an epoch, {batch} to a step, into {made.output_dir}")
    return 0
