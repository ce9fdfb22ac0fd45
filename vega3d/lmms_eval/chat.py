"""The chat form: a task gives messages, with media where the task wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vega3d.lmms_eval.answering import Request
from vega3d.lmms_eval.messages import from_chat
from vega3d.lmms_eval.model import Vega3DModel


class Vega3DChat(Vega3DModel):
    """vega3d, asked by messages (lmms-eval's default)."""

    is_simple = False

    def questions(self, instances: Sequence[Any]) -> list[Request]:
        """One request for each instance."""
        found = []
        for instance in instances:
            _, messages_of, options, number, task, split = instance.args
            messages = messages_of(self.document(task, split, number))
            found.append(Request(from_chat(messages, clip=self.clip), options))
        return found
