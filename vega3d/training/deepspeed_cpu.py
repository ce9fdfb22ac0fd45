"""DeepSpeed on a CPU, where two of its assumptions do not hold.

With ``use_cpu`` transformers starts torch's processes itself, and DeepSpeed then counts a world of one. So
DeepSpeed has to start them first. It also compiles an operator for shared memory at its first use, which
takes most of a minute and a compiler; gloo does the same work without.

This is for tests and trials; on GPUs nothing here is called.
"""

from __future__ import annotations

import importlib
import os
import socket
from typing import Any

from vega3d.errors import DependencyError


def start() -> None:
    """Start DeepSpeed's processes over gloo; a process that no launcher started is a world of its own.

    Raises:
        DependencyError: deepspeed is not installed.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        deepspeed: Any = importlib.import_module("deepspeed")
    except ImportError as error:
        raise DependencyError(
            "Missing deepspeed: trainer.deepspeed needs it.",
            got=str(error),
            expected="deepspeed",
            fix="pip install 'vega3d[train]'",
        ) from error
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not deepspeed.comm.is_initialized():
        for name, value in _alone().items():
            os.environ.setdefault(name, value)
        deepspeed.init_distributed(dist_backend="gloo")


def _alone() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    return {**world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
