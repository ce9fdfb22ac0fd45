"""A warning at the end of a run whose model does not use the features of the generator.

Decision: the last evaluation decides. Features of other media have to cost at least `SMALLEST` of the loss;
what is less is taken for equal. The contribution beside it says whether the branch is silent (about 0) or
changes the tokens without helping.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import TrainerCallback

SMALLEST = 1e-3
"""Share of the loss that features of other media have to cost."""
LOSS, SWAPPED, CONTRIBUTION = "eval_loss", "eval_loss_swapped", "fusion/contribution"


class BranchCheck(TrainerCallback):  # type: ignore[misc]  # untyped
    """Warns in the first process."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        text = unused_branch(state.log_history)
        if text and state.is_world_process_zero:
            warnings.warn(text, stacklevel=2)


def unused_branch(history: Iterable[Mapping[str, Any]]) -> str:
    """The warning; empty if the features matter, or if no evaluation swapped them."""
    last: dict[str, float] = {}
    for entry in history:
        last |= {name: entry[name] for name in (LOSS, SWAPPED, CONTRIBUTION) if name in entry}
        if LOSS in entry and SWAPPED not in entry:
            last.pop(SWAPPED, None)
    if SWAPPED not in last or last[SWAPPED] - last[LOSS] >= SMALLEST * abs(last[LOSS]):
        return ""
    contribution = f"{last[CONTRIBUTION]:.2g}" if CONTRIBUTION in last else "unknown"
    return (
        f"The model does not use the generator's features: its loss is {last[LOSS]:.4g}, and with the "
        f"features of other media {last[SWAPPED]:.4g} (contribution {contribution}). Train more steps, raise "
        "new_modules_lr, or ask questions that the host's frames do not answer."
    )
