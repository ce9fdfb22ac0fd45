"""One of several processes of runs; a module of its own, since a launcher imports it afresh.

Runs come as a list, so that one start of the processes serves several. Before a run, ``copy`` takes another
one's folder for a start, and ``forget`` deletes files, as if that run had been killed before it wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train


def prepare(job: dict[str, Any]) -> None:
    """Done by one process; the others wait."""
    if int(os.environ.get("RANK", 0)) == 0:
        if job.get("copy"):
            shutil.copytree(*job["copy"])
        for file in job.get("forget", ()):
            Path(file).unlink()
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in json.loads(Path(sys.argv[1]).read_text()):
        prepare(job)
        train(TrainConfig.from_dict(job["settings"]))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # nobody leaves while the other still talks
    os._exit(0)  # destroying a gloo group can wait for ever
