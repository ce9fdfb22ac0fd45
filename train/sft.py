"""Fine-tune with a recipe of the config: align, lora or full. Read, copy, change.

python train/sft.py configs/train/qwen2_5_vl_7b_lora.yaml [key.sub=value ...]
"""

from __future__ import annotations

import sys

from vega3d.training.arguments import training_arguments
from vega3d.training.config import load_config
from vega3d.training.finetune import load_parts, make_trainer, run


def main(file: str, *overrides: str) -> None:
    """Train; run again to resume after an interruption."""
    config = load_config(file, overrides)
    arguments = training_arguments(config)
    adapter, processor = load_parts(config, arguments.seed)  # change the model here
    trainer = make_trainer(config, adapter, processor, arguments)  # a transformers.Trainer with all its hooks
    print(run(trainer, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
