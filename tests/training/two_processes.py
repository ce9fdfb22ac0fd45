"""One of several processes of a run; a module of its own, since a launcher imports it afresh."""

from __future__ import annotations

import json
import os
import sys

import torch

from vega3d.training.config import TrainConfig
from vega3d.training.run import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    with open(sys.argv[1], encoding="utf-8") as file:
        train(TrainConfig.from_dict(json.load(file)))
    torch.distributed.barrier()  # nobody leaves while the other still talks
    os._exit(0)  # destroying a gloo group can wait for ever
