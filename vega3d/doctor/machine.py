"""Devices, attention back ends, and room for models on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from vega3d.doctor import Check, judged

GIB = 2**30
ROOM = 20 * GIB  # Qwen2.5-VL 3B is 7.5 GB, the Wan2.1 1.3B with its VAE 6 GB as published


def processor() -> Iterator[Check]:
    """Cores, threads, and what idle threads do."""
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # not on every system
    usable = len(affinity()) if affinity else os.cpu_count()
    cores, threads = f"{usable} usable of {os.cpu_count()} cores", f"{torch.get_num_threads()} threads"
    yield Check("processor", f"{cores}, {threads}, {torch.backends.cpu.get_cpu_capability()}")
    yield waiting(os.environ, torch.cuda.is_available())


def waiting(environment: Mapping[str, str], has_gpu: bool) -> Check:
    """Check that idle threads sleep: on shared cores, spinning ones made a training step 20 times slower."""
    policy = environment.get("OMP_WAIT_POLICY")
    good = has_gpu or (policy or "").upper() == "PASSIVE"
    found = policy or ("not set" if good else "not set: idle threads spin")
    fix = "export OMP_WAIT_POLICY=PASSIVE before Python starts, if other programs share these cores"
    return judged("OMP_WAIT_POLICY", found, good, fix, "note")


def memory() -> Iterator[Check]:
    """Main memory."""
    ram = psutil.virtual_memory()
    yield Check("memory", f"{ram.available / GIB:.1f} GiB free of {ram.total / GIB:.1f}")


def gpus() -> Iterator[Check]:
    """Every GPU that torch sees; a GPU that only the driver sees is a problem of the installation."""
    if not torch.cuda.is_available():
        yield without_gpu(torch.version.cuda, shutil.which("nvidia-smi") is not None)
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        what = f"{about.name}, {about.total_memory / GIB:.0f} GiB, capability {about.major}.{about.minor}"
        yield Check(f"GPU {number}", f"{what}, {bf16}")


def without_gpu(built_for: str | None, driver: bool) -> Check:
    """Check for a machine where torch sees no GPU."""
    if not driver:
        return Check("GPU", "none")
    what, fix = "this torch is built for CPUs", "install its CUDA build, see https://pytorch.org/get-started"
    if built_for is not None:
        what = "torch sees no GPU"
        fix = f"check CUDA_VISIBLE_DEVICES, and that the driver is as new as CUDA {built_for}"
    return Check("GPU", f"there is a driver, but {what}", "note", fix)


def attention() -> Iterator[Check]:
    """Kernels of torch's own attention and back ends of diffusers, each by running it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    yield Check("torch's attention", f"{', '.join(kernels(device)) or 'none'} (on {device})")
    from vega3d.backbones.wan.dit import working_backends

    usable = ", ".join(working_backends(device))
    yield Check("WanConfig(attention=...)", f"{usable} (on {device}); the default is native")


def kernels(device: str) -> tuple[str, ...]:
    """Kernels of ``scaled_dot_product_attention`` that run: float32 on a CPU, bfloat16 on a GPU."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    x = torch.zeros(1, 2, 32, 64, device=device, dtype=dtype)
    names = []
    for name, kernel in SDPBackend.__members__.items():
        try:
            with sdpa_kernel(kernel):
                scaled_dot_product_attention(x, x, x)
        except RuntimeError:
            continue
        names.append(name.lower().removesuffix("_attention"))
    return tuple(names)


def video() -> Iterator[Check]:
    """Check that an mp4 can be read."""
    import av

    readable = {"h264", "hevc", "vp9", "av1"} & set(av.codecs_available)
    found = ", ".join(sorted(readable)) if "h264" in readable else "no H.264"
    fix = "pip install --force-reinstall av (its wheels carry FFmpeg)"
    yield judged("video codecs", found, "h264" in readable, fix)


def room() -> Iterator[Check]:
    """Free disk where the hub's models are kept, and a note if the hub is offline."""
    from huggingface_hub import constants

    yield disk(Path(constants.HF_HUB_CACHE))
    if constants.HF_HUB_OFFLINE:
        yield Check("hub", "HF_HUB_OFFLINE is set: only models that are already here")


def disk(cache: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    """Room in a folder that may not be there yet."""
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = usage(existing).free
    found = f"{free / GIB:.0f} GiB free at {str(cache).replace(str(Path.home()), '~', 1)}"
    fix = f"free {ROOM / GIB:.0f} GiB for a host and a generator, or point HF_HOME to another disk"
    return judged("disk", found, free >= ROOM, fix, "note")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (processor, memory, gpus, attention, video, room)
