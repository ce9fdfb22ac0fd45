"""Attributes and methods of a model that Trainer, PEFT and DeepSpeed use, forwarded to the host.

A plain ``nn.Module`` around a host lacks these, and nothing reports it. Without ``accepts_loss_kwargs``, for
example, the Trainer normalises the loss differently.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class HostSurface(nn.Module):
    """Forward the host's public surface; a subclass sets ``self.host``."""

    host: Any

    @property
    def config(self) -> Any:
        """The host's configuration; that of the adapter is ``vega3d_config``."""
        return self.host.config

    @property
    def generation_config(self) -> Any:
        """The host's generation settings."""
        return self.host.generation_config

    @property
    def name_or_path(self) -> str:
        """Hub id or folder of the host."""
        return str(self.host.name_or_path)

    @property
    def device(self) -> torch.device:
        """Device of the host; for an offloaded host the device that accelerate computes on."""
        device: torch.device = self.host.device
        return device if device.type != "meta" else _execution_device(self.host) or device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the host; projector and fusion keep their own."""
        dtype: torch.dtype = self.host.dtype
        return dtype

    @property
    def accepts_loss_kwargs(self) -> bool:
        """True if the host's loss takes ``num_items_in_batch``."""
        return bool(getattr(self.host, "accepts_loss_kwargs", True))

    @property
    def main_input_name(self) -> str:
        """Name of the host's main input."""
        return str(self.host.main_input_name)

    @property
    def base_model_prefix(self) -> str:
        """Attribute of the host that holds its model without the head."""
        return str(self.host.base_model_prefix)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """True if the host recomputes activations in the backward pass."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.host.modules())

    is_activation_checkpointing = is_gradient_checkpointing

    def get_input_embeddings(self) -> nn.Module:
        """The host's token embeddings."""
        module: nn.Module = self.host.get_input_embeddings()
        return module

    def get_output_embeddings(self) -> nn.Module:
        """The host's output head."""
        module: nn.Module = self.host.get_output_embeddings()
        return module

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute the host's activations; projector and fusion are too small to be worth it."""
        if hasattr(self.host, "activation_checkpointing_enable"):
            self.host.activation_checkpointing_enable(activation_checkpointing_kwargs, **options)
        else:  # before transformers 5.23
            self.host.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def activation_checkpointing_disable(self) -> None:
        """Undo ``activation_checkpointing_enable``."""
        if hasattr(self.host, "activation_checkpointing_disable"):
            self.host.activation_checkpointing_disable()
        else:
            self.host.gradient_checkpointing_disable()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The older name of ``activation_checkpointing_enable``; PEFT calls it."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """The older name of ``activation_checkpointing_disable``."""
        self.activation_checkpointing_disable()

    def enable_input_require_grads(self) -> None:
        """Let gradients pass the host's embeddings, as reentrant checkpointing needs."""
        self.host.enable_input_require_grads()

    def add_model_tags(self, tags: list[str] | str) -> None:
        """Add tags for a model card, as TRL does; the host's own card is not changed."""
        present = self.__dict__.setdefault("model_tags", [])
        present += [tag for tag in ([tags] if isinstance(tags, str) else tags) if tag not in present]

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call the host's ``prepare_inputs_for_generation``."""
        inputs: dict[str, Any] = self.host.prepare_inputs_for_generation(*args, **kwargs)
        return inputs


def _execution_device(host: nn.Module) -> torch.device | None:
    """The device on which accelerate's hooks run an offloaded host; None without hooks."""
    for module in host.modules():
        hook = getattr(module, "_hf_hook", None)
        for part in (hook, *getattr(hook, "hooks", ())):  # a SequentialHook holds several
            device = getattr(part, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return None
