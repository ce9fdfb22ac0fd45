"""First stage: train projector and fusion, the host frozen. Read, copy, change.

python train/align.py configs/train/qwen2_5_vl_3b_align.yaml [key.sub=value ...]
"""

from __future__ import annotations

import sys

from vega3d.training import Collator
from vega3d.training.config import load_config
from vega3d.training.recipes import aligned
from vega3d.training.rows import load_rows
from vega3d.training.run import load_parts, run, to_device, training_arguments
from vega3d.training.trainer import Vega3DTrainer


def main(file: str, *overrides: str) -> None:
    """Train; run again to go on after a kill."""
    config = load_config(file, overrides)
    arguments = training_arguments(config)
    adapter, processor = load_parts(config, arguments.seed)
    to_device(adapter, arguments.device)  # the frozen generator is no part of the model
    trainer = Vega3DTrainer(
        model=aligned(adapter),
        args=arguments,
        train_dataset=load_rows(config.data, config.sampling, arguments.seed),
        data_collator=Collator(processor, max_length=config.max_length, overlong=config.overlong),
        new_lr=config.new_modules_lr,
    )
    print(run(trainer, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
