"""Loading of a host, and the choice of a device."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import AutoModelForImageTextToText, PretrainedConfig

from vega3d import registry
from vega3d.config import HostConfig
from vega3d.errors import ConfigError, HostError

Device = Literal["auto", "cpu", "cuda", "meta"]
DType = torch.dtype | Literal["auto", "float32", "bfloat16"]


def load_host(
    host: HostConfig,
    *,
    dtype: DType = "auto",
    attention: str | None = None,
    quantization: Any = None,
    device_map: Any = None,
) -> nn.Module:
    """Load a host.

    Args:
        host: path and revision of the weights.
        dtype: precision; ``auto`` keeps the saved one.
        attention: back end of the attention; None takes the host's default.
        quantization: transformers' settings of a quantised host, completed by its family's ``unquantized``;
            None loads it unquantised.
        device_map: transformers' devices of its parts; None loads it to the CPU.

    Raises:
        ConfigError: ``host.path`` is empty.
        HostError: the host cannot be loaded.
    """
    if not host.path:
        got, fix = "no path, as of a host built in memory", "load the host and pass it as host=..."
        raise ConfigError("Missing host.path.", got=got, expected="a folder or a hub id", fix=fix)
    options = {
        "attn_implementation": attention,
        "quantization_config": quantization,
        "device_map": device_map,
    }
    try:
        settings, _ = PretrainedConfig.get_config_dict(host.path, revision=host.revision)
        if settings.get("model_type") in registry.names("hosts"):  # a plug-in registers its classes here
            family = registry.resolve("hosts", settings["model_type"])
            if getattr(quantization, "llm_int8_skip_modules", True) is None:  # a choice of the user's stays
                quantization.llm_int8_skip_modules = [*family.unquantized]
        model: nn.Module = AutoModelForImageTextToText.from_pretrained(
            host.path,
            revision=host.revision,
            dtype=dtype,
            **{name: value for name, value in options.items() if value is not None},
        )
    except (OSError, ImportError, ValueError) as error:
        title = f"Cannot load the host {host.path!r}."
        got = (str(error).splitlines() or [type(error).__name__])[0]
        expected = "a folder or hub id of a Qwen-VL, and options for which the packages are installed"
        fix = "check the spelling and the options; offline, download it first and pass the folder"
        raise HostError(title, got=got, expected=expected, fix=fix) from error
    return model


def device_of(name: Device) -> torch.device:
    """Resolve a device name; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ConfigError: ``cuda``, and torch finds no GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        got = f"cuda, with torch {torch.__version__} and no GPU that it can use"
        fix = "pass cpu or auto as the device; for a GPU install its driver and a torch built for it"
        raise ConfigError("Invalid device 'cuda': torch finds no GPU.", got=got, expected="cpu", fix=fix)
    return torch.device(name)
