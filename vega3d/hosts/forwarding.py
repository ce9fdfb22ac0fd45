"""Attributes and methods of a model that Trainer, PEFT and DeepSpeed use, forwarded to the host.

A plain ``nn.Module`` around a host lacks these, and nothing reports it. Without ``accepts_loss_kwargs``, for
example, the Trainer normalises the loss differently.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn


class Forwarded:
    """Attribute or method of the host, under the same name."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: HostSurface | None, owner: type) -> Any:
        return self if instance is None else getattr(instance.host, self.name)


class HostSurface(nn.Module):
    """Forward the host's public surface; a subclass sets ``self.host``."""

    host: Any

    config = Forwarded("The host's configuration; that of the adapter is ``vega3d_config``.")
    generation_config = Forwarded("The host's generation settings.")
    name_or_path = Forwarded("Hub id or folder of the host.")
    dtype = Forwarded("Precision of the host; projector and fusion keep their own.")
    main_input_name = Forwarded("Name of the host's main input.")
    base_model_prefix = Forwarded("Attribute of the host that holds its model without the head.")
    get_input_embeddings = Forwarded("The host's token embeddings.")
    get_output_embeddings = Forwarded("The host's output head.")
    enable_input_require_grads = Forwarded("Let gradients pass the embeddings; for reentrant checkpointing.")
    prepare_inputs_for_generation = Forwarded("Call the host's ``prepare_inputs_for_generation``.")
    can_generate = Forwarded("True, because hosts generate text; transformers' pipelines ask.")
    hf_device_map = Forwarded("Devices of the host's parts; only of a host loaded with a device map.")
    hf_quantizer = Forwarded("Quantizer of the host; only of a quantized one, as are the next four.")
    is_quantized = Forwarded("True for a quantized host.")
    quantization_method = Forwarded("Method of a quantized host.")
    is_loaded_in_4bit = Forwarded("True for a host in 4 bits.")
    is_loaded_in_8bit = Forwarded("True for a host in 8 bits.")

    @property
    def device(self) -> torch.device:
        """Device of the host; for an offloaded host the device that accelerate computes on."""
        device: torch.device = self.host.device
        return device if device.type != "meta" else _execution_device(self.host) or device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the model; the host's own ``to`` comes first, which refuses for a quantized or split host."""
        self.host.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Number of parameters of host, projector and fusion.

        Args:
            only_trainable: leave frozen ones out.
            exclude_embeddings: leave the host's embeddings out.
        """
        own = [p for name, p in self.named_parameters() if not name.startswith("host.")]
        count = sum(p.numel() for p in own if p.requires_grad or not only_trainable)
        return count + int(self.host.num_parameters(only_trainable, exclude_embeddings))

    def print_trainable_parameters(self) -> None:
        """Print the numbers of trainable and of all parameters, in PEFT's words."""
        trainable, total = self.num_parameters(only_trainable=True), self.num_parameters()
        share = 100 * trainable / total
        print(f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {share:.4f}")

    @property
    def accepts_loss_kwargs(self) -> bool:
        """True if the host's loss takes ``num_items_in_batch``."""
        return bool(getattr(self.host, "accepts_loss_kwargs", True))

    @property
    def is_gradient_checkpointing(self) -> bool:
        """True if the host recomputes activations in the backward pass."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.host.modules())

    is_activation_checkpointing = is_gradient_checkpointing

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute the host's activations; projector and fusion are too small to be worth it."""
        before = "gradient_checkpointing_enable"  # its name before transformers 5.23
        enable = getattr(self.host, "activation_checkpointing_enable", None) or getattr(self.host, before)
        enable(activation_checkpointing_kwargs, **options)

    def activation_checkpointing_disable(self) -> None:
        """Undo ``activation_checkpointing_enable``."""
        before = "gradient_checkpointing_disable"
        disable = getattr(self.host, "activation_checkpointing_disable", None) or getattr(self.host, before)
        disable()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The older name of ``activation_checkpointing_enable``; PEFT calls it."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    gradient_checkpointing_disable = activation_checkpointing_disable

    def add_model_tags(self, tags: list[str] | str) -> None:
        """Add tags for a model card, as TRL does; the host's own card is not changed."""
        present = self.__dict__.setdefault("model_tags", [])
        present += [tag for tag in ([tags] if isinstance(tags, str) else tags) if tag not in present]


def _execution_device(host: nn.Module) -> torch.device | None:
    """The device on which accelerate's hooks run an offloaded host; None without hooks."""
    for module in host.modules():
        hook = getattr(module, "_hf_hook", None)
        for part in (hook, *getattr(hook, "hooks", ())):  # a SequentialHook holds several
            device = getattr(part, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return None
