"""Language models that can be wrapped; everything specific to a family is in one file.

The host itself is never changed. A family describes it: the grid and the width of its visual tokens, the
calls of its own encoders, and the layers that LoRA trains.
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
    """Interface between the adapter or processor and a family of hosts."""

    lora_targets: str
    """Regular expression of module names, for ``LoraConfig(target_modules=...)``."""

    def width(self, config: Any) -> int:
        """D, the width of the language model's tokens."""
        ...

    def language_model(self, host: Any) -> nn.Module:
        """The language model without its head; recipes train or adapt it."""
        ...

    def vision_tower(self, host: Any) -> nn.Module:
        """The vision tower with its merger; it is frozen in every recipe."""
        ...

    def temporal_patch(self, config: Any) -> int:
        """Frames of a video that share one time step of tokens."""
        ...

    def grids(
        self, config: Any, modality: Modality, grid_thw: Tensor, frames: Sequence[int]
    ) -> list[TokenGrid]:
        """Token grids of all items of one modality; ``frames`` holds the number of frames of each item."""
        ...

    def encode(self, host: Any, modality: Modality, pixels: Tensor, grid_thw: Tensor) -> Any:
        """The host's own features, as an output whose ``pooler_output`` is one (n_tokens, D) an item."""
        ...

    def token_types(self, config: Any, input_ids: Tensor) -> Tensor:
        """``mm_token_type_ids`` derived from the token ids: 0 text, 1 image, 2 video."""
        ...


def family_of(host: Any) -> HostFamily:
    """Find the family of a host by its ``config.model_type``.

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
    """Take the module out of ``torch.compile(host)``; any other host is returned as it is.

    The compiled wrapper covers ``forward`` only: ``generate`` bypasses it, and it renames every weight.
    """
    inner = getattr(host, "_orig_mod", None)
    if not isinstance(inner, nn.Module):
        return host
    warnings.warn(
        "The host is unwrapped from torch.compile(host). Use host.compile(), which compiles it in place.",
        stacklevel=3,
    )
    return inner


def _refuse_peft(host: Any) -> None:
    if hasattr(host, "get_base_model") and hasattr(host, "peft_config"):
        raise HostError(
            "Invalid host: a PeftModel, whose LoRA weights would be neither saved nor loaded again.",
            got=f"{type(host).__name__} of {type(host.get_base_model()).__name__}",
            expected="the model itself",
            fix="for new LoRA, wrap the host first, then get_peft_model(adapter, ...); for trained LoRA, "
            "host.load_adapter(folder) before wrapping, or wrap peft_model.merge_and_unload()",
        )


def _require_encoded_media(host: Any) -> None:
    if "mm_encoder_outputs" not in inspect.signature(host.forward).parameters:
        raise HostError(
            f"Invalid host {type(host).__name__}: its forward does not take mm_encoder_outputs.",
            got=f"transformers {transformers.__version__}",
            expected=f"a model class of transformers >= {NEEDED_TRANSFORMERS} that takes pre-encoded media",
            fix=f"pip install 'transformers>={NEEDED_TRANSFORMERS}' and load the host with its own class",
        )
