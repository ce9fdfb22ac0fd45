"""lmms-eval's chat and simple model: arguments, loading, and conversion of questions.

``--model_args pretrained=pico,max_num_frames=8`` becomes the arguments of `Vega3DModel`; an unknown one is an
error. Names are those of lmms-eval's own Qwen models where these have one. Answers are text only, so tasks
that compare likelihoods are refused.

This module needs lmms-eval and is imported by it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.model import lmms
from tqdm import tqdm

import vega3d
from vega3d.errors import ConfigError, unknown_choice
from vega3d.evaluation.run.model import As, EvalModel
from vega3d.lmms_eval.answering import Request, answers
from vega3d.lmms_eval.messages import from_chat, from_simple, with_system
from vega3d.pipeline import PICO


class Vega3DModel(lmms):  # type: ignore[misc]  # lmms-eval is untyped here
    """A vega3d model with the interface of lmms-eval's models.

    Args:
        pretrained: ``pico``, a vega3d checkpoint, or a Qwen-VL: folder or hub id.
        backbone: ``pico``, ``none``, or a Wan; None takes the checkpoint's.
        store: folder of stored features.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: questions about one clip that are answered together.
        max_num_frames: frames of a video, at most.
        max_pixels: largest area of a frame for the host.
        send: frames of a video as ``images`` of one clip, or as one ``video``.
        plain: ask the host alone.
        clip: several pictures of a question are frames of one clip.
        system_prompt: of tasks that have none; empty leaves the host's own.
    """

    def __init__(
        self,
        pretrained: str = PICO,
        backbone: str | None = None,
        store: str | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_num_frames: int = 32,
        max_pixels: int | None = None,
        send: As = "images",
        plain: bool = False,
        clip: bool = False,
        system_prompt: str = "You are a helpful assistant.",
    ) -> None:
        super().__init__()
        _require_numbers(batch_size=batch_size, max_num_frames=max_num_frames, max_pixels=max_pixels)
        if send not in ("images", "video"):
            raise unknown_choice("send", send, ("images", "video"))
        self.accelerator = Accelerator(cpu=device == "cpu")  # of several processes each has its own device
        torch.manual_seed(0)  # untrained layers are drawn: the same ones in every process
        where: Any = device or "auto"
        assistant = vega3d.load(pretrained, backbone, store=store, device=where)
        self.answerer = EvalModel(assistant, max_num_frames, send, plain=plain, max_pixels=max_pixels)
        self.questions_together, self.clip, self.system = int(batch_size), clip, system_prompt

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return torch.device(self.answerer.assistant.adapter.device)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """One answer for each instance."""
        questions = [self._question(*instance.args) for instance in requests]
        with tqdm(total=len(requests), disable=self.rank != 0, desc="vega3d answers") as progress:
            return answers(self.answerer, questions, self.questions_together, progress.update)

    def _question(self, first: Any, second: Any, third: Any, number: int, task: str, split: str) -> Request:
        """The question of an instance, from the arguments that lmms-eval gives it."""
        document = self.task_dict[task][split][number]
        if self.is_simple:  # text, options, visuals of a document
            messages, options = from_simple(first, third(document), clip=self.clip), second
        else:  # text, messages of a document, options
            messages, options = from_chat(second(document), clip=self.clip), third
        return Request(with_system(messages, self.system), options)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        raise _only_text("compares likelihoods")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        raise _only_text("has several rounds")


class Vega3DChat(Vega3DModel):
    """vega3d, asked by messages with media in them (lmms-eval's default)."""

    is_simple = False


class Vega3DSimple(Vega3DModel):
    """vega3d, asked by visuals and a text (``--force_simple``); nothing stands between visuals."""

    is_simple = True


def _require_numbers(**values: object) -> None:
    for name, value in values.items():
        if value is not None and not (str(value).isdigit() and int(str(value)) > 0):
            raise ConfigError(f"Invalid {name}.", got=value, expected="1 or more", fix=f"correct {name}=")


def _only_text(reason: str) -> ConfigError:
    what = f"Invalid task: it {reason}, and vega3d answers one question in words."
    return ConfigError(what, expected="a task of output_type generate_until", fix="run another task")
