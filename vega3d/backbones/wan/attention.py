"""Attention back ends of diffusers that work here, found by running each one instead of comparing versions.

``WanConfig(attention=...)`` takes one of these names. Back ends that would be downloaded are left out.
"""

from __future__ import annotations

import warnings

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn


def working_backends(device: str | torch.device = "cpu") -> tuple[str, ...]:
    """Names of back ends that run on a small tensor: float32 on a CPU, bfloat16 on a GPU."""
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    x = torch.zeros(1, 32, 2, 64, device=device, dtype=dtype)  # (N, L, heads, d)
    names = [backend for backend in AttentionBackendName if not backend.value.endswith("_hub")]
    return tuple(backend.value for backend in names if _works(backend, x))


def _works(backend: AttentionBackendName, x: torch.Tensor) -> bool:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            attended = dispatch_attention_fn(x, x, x, backend=backend)
    except Exception:  # a missing library fails in as many ways as there are libraries
        return False
    return bool(torch.isfinite(attended).all())
