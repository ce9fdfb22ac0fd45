"""The simple form (``--force_simple``): a task gives visuals and a text; nothing stands between visuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vega3d.lmms_eval.answering import Request
from vega3d.lmms_eval.messages import from_simple
from vega3d.lmms_eval.model import Vega3DModel


class Vega3DSimple(Vega3DModel):
    """vega3d, asked by visuals and a text."""

    is_simple = True

    def questions(self, instances: Sequence[Any]) -> list[Request]:
        """One request for each instance."""
        found = []
        for instance in instances:
            text, options, visuals_of, number, task, split = instance.args
            visuals = visuals_of(self.document(task, split, number))
            found.append(Request(from_simple(text, visuals, clip=self.clip), options))
        return found
