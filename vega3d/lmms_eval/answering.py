"""Answers to a list of questions: the usual ones by `EvalModel`, all others by the processor, one by one.

Decision: questions about one clip are answered one after the other, whatever their order was, so that the
clip is decoded and encoded once; batches hold questions about one clip. Both are what `vega3d eval run` does.

Decoding is greedy, as everywhere in vega3d, and a task that asks for something else is refused. Of a task's
``until`` the harness's own default (an empty line, put there for few-shot prompts) is left out: lmms-eval's
Qwen models do so, too.

This module does not import lmms-eval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vega3d.errors import ConfigError
from vega3d.evaluation.media import length, read, spread
from vega3d.evaluation.run.model import GENERATIVE, EvalModel, EvalRequest
from vega3d.lmms_eval.messages import SAMPLED, Message, usual

MAX_NEW_TOKENS = 128
DEFAULT_STOP = "\n\n"
Done = Callable[[int], Any]


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        messages: as `messages.from_chat` and `messages.from_simple` give them.
        options: the task's ``generation_kwargs``.
    """

    messages: list[Message]
    options: Mapping[str, Any]

    @property
    def max_new_tokens(self) -> int:
        """Length of the answer."""
        return int(self.options.get("max_new_tokens") or MAX_NEW_TOKENS)

    def cut(self, answer: str) -> str:
        """The answer up to the first of the task's stops."""
        until = self.options.get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            answer = answer.split(stop)[0] if stop and stop != DEFAULT_STOP else answer
        return answer


def answers(
    model: EvalModel, requests: Sequence[Request], batch_size: int = 1, done: Done = lambda count: None
) -> list[str]:
    """One answer a request, in the order of the requests.

    Args:
        model: the model; of its settings a request replaces length and label, and frames where it says so.
        requests: the questions.
        batch_size: questions about one clip that are answered together.
        done: called with the number of questions that have just been answered.

    Raises:
        ConfigError: a task asks for sampling or for beams.
        MediaError, MediaNotFoundError, InputError: a clip cannot be read.
    """
    for request in requests:
        require_greedy(request.options)
    texts = _answers_about_clips(model, requests, batch_size, done)
    for number, request in enumerate(requests):
        if number not in texts:
            texts[number] = answer_alone(model, request)
            done(1)
    return [request.cut(texts[number]) for number, request in enumerate(requests)]


def answer_alone(model: EvalModel, request: Request) -> str:
    """The answer to messages of any shape, as the processor takes them."""
    adapter: Any = model.assistant.adapter
    processor = model.assistant.processor
    messages = [_shown(message, model) for message in request.messages]
    inputs = dict(processor.apply_chat_template(messages).to(adapter.device))
    options = {"max_new_tokens": request.max_new_tokens, "do_sample": False, "num_beams": 1}
    if model.plain:
        inputs = {name: value for name, value in inputs.items() if name not in GENERATIVE}
    with torch.no_grad():
        tokens = (adapter.host if model.plain else adapter).generate(**inputs, **options)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    return str(processor.batch_decode(new, skip_special_tokens=True)[0])


def require_greedy(options: Mapping[str, Any]) -> None:
    """Refuse what is not greedy decoding.

    Raises:
        ConfigError: sampling or beams are asked for.
    """
    asked = {"do_sample": bool(options.get("do_sample")), "num_beams": options.get("num_beams") or 1}
    if asked != {"do_sample": False, "num_beams": 1} or float(options.get("temperature") or 0) > 0:
        what, expected = "Invalid task: its answers are not decoded greedily.", "greedy decoding"
        got = {name: value for name, value in options.items() if name in (*asked, "temperature")}
        fix = "pass --gen_kwargs do_sample=False,temperature=0,num_beams=1 and state it beside the number"
        raise ConfigError(what, got=got, expected=expected, fix=fix)


def _answers_about_clips(
    model: EvalModel, requests: Sequence[Request], batch_size: int, done: Done
) -> dict[int, str]:
    """Answers to the usual questions, by their number."""
    groups: dict[tuple[str, int, int, Any], list[tuple[int, EvalRequest]]] = {}
    for number, request in enumerate(requests):
        if (question := usual(request.messages)) is not None:
            settings = (question.label, question.frames or model.frames, request.max_new_tokens)
            groups.setdefault((*settings, question.request.clip), []).append((number, question.request))
    texts: dict[int, str] = {}
    for (label, frames, tokens, _), members in groups.items():
        asked = EvalModel(model.assistant, frames, model.send, tokens, model.plain, model.max_pixels, label)
        for n in range(0, len(members), batch_size):
            numbers, batch = zip(*members[n : n + batch_size], strict=True)
            texts |= zip(numbers, asked.answer(batch), strict=True)
            done(len(batch))
    return texts


def _shown(message: Message, model: EvalModel) -> Message:
    """A message whose videos are as many frames as asked for, sent in the way that is asked for."""
    limit = {"max_pixels": model.max_pixels} if model.max_pixels else {}
    content: list[Message] = []
    for number, part in enumerate(message["content"]):
        if part["type"] == "image":
            content.append({name: value for name, value in part.items() if name != SAMPLED} | limit)
        elif part["type"] == "video":
            content += _frames(Path(part["video"]), f"video {number}", model, limit)
        else:
            content.append(part)
    return {**message, "content": content}


def _frames(video: Path, clip: str, model: EvalModel, limit: Mapping[str, int]) -> list[Message]:
    count = length(video)
    if model.send == "video":
        most = min(model.frames, count)
        return [{"type": "video", "video": str(video), "nframes": most - most % 2 or 1, **limit}]
    pictures = read(video, spread(count, model.frames))
    return [{"type": "image", "image": picture, "clip": clip, **limit} for picture in pictures]
