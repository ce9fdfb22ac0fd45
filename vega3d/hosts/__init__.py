"""Language models that can be wrapped: one file a family holds all that is particular to it.

The host itself is never touched. A family only answers questions about it: where its visual tokens
lie, how wide they are, how its own encoders are called, and which of its layers LoRA should train.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import transformers
from torch import Tensor, nn

from vega3d import registry
from vega3d.errors import HostError
from vega3d.grid import TokenGrid

Modality = Literal["image", "video"]
MODALITIES: tuple[Modality, ...] = ("image", "video")
NEEDED_TRANSFORMERS = "5.21"


class HostFamily(Protocol):
    """What the adapter and the processor ask about a family of hosts."""

    lora_targets: str
    """Regular expression over module names, for ``LoraConfig(target_modules=...)``."""

    def width(self, config: Any) -> int:
        """D, the width of the language model's tokens."""
        ...

    def language_model(self, host: Any) -> nn.Module:
        """The language model without its head: what recipes train or adapt."""
        ...

    def vision_tower(self, host: Any) -> nn.Module:
        """The vision tower with its merger: frozen in every recipe."""
        ...

    def temporal_patch(self, config: Any) -> int:
        """Frames of a video that share one time step of tokens."""
        ...

    def grids(
        self, config: Any, modality: Modality, grid_thw: Tensor, frames: Sequence[int]
    ) -> list[TokenGrid]:
        """Token grids of all items of one modality; ``frames`` is the number of frames of each."""
        ...

    def encode(self, host: Any, modality: Modality, pixels: Tensor, grid_thw: Tensor) -> Any:
        """The host's own features: an output whose ``pooler_output`` is one (n_tokens, D) an item."""
        ...

    def token_types(self, config: Any, input_ids: Tensor) -> Tensor:
        """``mm_token_type_ids`` derived from the token ids: 0 text, 1 image, 2 video."""
        ...


def family_of(host: Any) -> HostFamily:
    """The family of a host, by its ``config.model_type``.

    Raises:
        HostError: no family is registered for it, it is a PeftModel, or it does not take pre-encoded media.
    """
    host = getattr(host, "_orig_mod", host)
    _refuse_peft(host)
    model_type = getattr(getattr(host, "config", None), "model_type", type(host).__name__)
    known = registry.names("hosts")
    if model_type not in known:
        raise HostError(
            f"Unknown host: no family is registered for model type {model_type!r}.",
            got=f"{type(host).__name__} with model_type {model_type!r}",
            expected="a model of one of the types " + ", ".join(known),
            fix="wrap one of these, or register a family under the entry-point group 'vega3d.hosts'",
        )
    _require_encoded_media(host)
    family: HostFamily = registry.resolve("hosts", model_type)()
    return family


def unwrapped(host: nn.Module) -> nn.Module:
    """The module inside ``torch.compile(host)``; any other host as it is.

    The wrapper answers for ``forward`` only: ``generate`` passes it by, and it renames every weight.
    """
    inner = getattr(host, "_orig_mod", None)
    if not isinstance(inner, nn.Module):
        return host
    warnings.warn(
        "The host is unwrapped from torch.compile(host). host.compile() compiles it in place, and stays.",
        stacklevel=3,
    )
    return inner


def _refuse_peft(host: Any) -> None:
    if hasattr(host, "get_base_model") and hasattr(host, "peft_config"):
        raise HostError(
            "The host is a PeftModel, whose adapter would be neither saved nor found again.",
            got=f"{type(host).__name__} of {type(host.get_base_model()).__name__}",
            expected="the model itself",
            fix="for new LoRA, wrap the host first, then get_peft_model(adapter, ...); for trained LoRA, "
            "host.load_adapter(folder) before wrapping, or wrap peft_model.merge_and_unload()",
        )


def _require_encoded_media(host: Any) -> None:
    if "mm_encoder_outputs" not in inspect.signature(host.forward).parameters:
        raise HostError(
            f"{type(host).__name__}.forward does not take mm_encoder_outputs.",
            got=f"transformers {transformers.__version__}",
            expected=f"a model class of transformers >= {NEEDED_TRANSFORMERS} that takes pre-encoded media",
            fix=f"pip install 'transformers>={NEEDED_TRANSFORMERS}' and load the host with its own class",
        )
