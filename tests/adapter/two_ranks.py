"""One of two processes of a DDP step; a module of its own, since a spawned process imports it afresh."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from tests.adapter.conftest import SETTINGS, wrap
from tests.tiny import make_batch, make_host
from vega3d import WanBackbone
from vega3d.pico import pico_path


def step(rank: int, folder: str) -> None:
    """Rank 0 has an image, rank 1 text only; writes the gradient that it ends up with."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    host = make_host("qwen2_5_vl").requires_grad_(False)
    torch.manual_seed(0)
    backbone = WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)
    model = DistributedDataParallel(wrap(host, backbone, "paper").train())
    batch = make_batch(host, [[("image", 1, 4, 4)]] if rank == 0 else [[]])
    model(**batch, labels=batch["input_ids"]).loss.backward()
    save_file({"grad": model.module.projector.down.weight.grad}, f"{folder}/grad-{rank}.safetensors")
    dist.barrier()  # nobody leaves while the other still talks
    os._exit(0)  # destroying the group can wait for ever: its thread and the reducer both want the GIL
