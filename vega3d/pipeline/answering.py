"""A loaded model that answers questions about clips: one by one, in lists, and in conversations."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import TextStreamer

from vega3d._utils import files, moved
from vega3d.adapter import Vega3DAdapter
from vega3d.fusion.encode import Encoding, unique_names
from vega3d.media.decoding import is_photo
from vega3d.media.frame_plan import FramePlan
from vega3d.pico import PICO_DIR
from vega3d.processing import Vega3DProcessor

FRAMES = 8
NEW_TOKENS = 64
Media = str | os.PathLike[str]
"""A video, a photo, or a folder of frames: a path or an address."""
Clips = list[Media] | list[str] | tuple[Media, ...]
Texts = list[str] | tuple[str, ...]
Write = Callable[[str], object]
Stream = Write | None
"""Called with each piece of an answer as it is generated."""
_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "second_per_grid_ts")
_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size")


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer, with the encoding and the frames that it was made from.

    Attributes:
        text: the generated text.
        encoding: fused media, with gate and contribution of every token.
        frames: (T, 3, H, W) uint8, the decoded frames for the generator; T = 0 with stored features.
        plan: the frames of ``frames`` that belong to each frame of the host.
        question: the question; empty if none was asked.
        model: description of the model in a few lines.
    """

    text: str
    encoding: Encoding
    frames: Tensor
    plan: FramePlan
    question: str = ""
    model: str = ""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        reports = [f"  {report!r}" for report in self.encoding.reports[:2]]
        lines = [f"Answer({self.text!r:.200}", f"  question: {self.question!r:.200}"]
        frames = f"  frames: {len(self.plan.host)} of the host, {len(self.frames)} of the generator"
        return "\n".join([*lines, frames, *reports, *self.model.splitlines()[1:]]) + ")"


@dataclass(frozen=True)
class Pipeline:
    """A wrapped model with its processor; it is loaded once, and asked any number of times.

    Attributes:
        adapter: host, projector, fusion and backbone.
        processor: prepares both sides of a batch.
        name: the name under which the model was loaded.
        trained: True if projector and fusion come from a checkpoint; otherwise they are the identity.
    """

    adapter: Vega3DAdapter
    processor: Vega3DProcessor
    name: str
    trained: bool

    @overload
    def ask(
        self,
        video: Media,
        question: str,
        *,
        nframes: int = ...,
        max_new_tokens: int = ...,
        stream: Stream = ...,
    ) -> Answer: ...
    @overload
    def ask(
        self,
        video: Media,
        question: Texts,
        *,
        nframes: int = ...,
        max_new_tokens: int = ...,
        stream: Stream = ...,
    ) -> list[Answer]: ...
    @overload
    def ask(
        self,
        video: Clips,
        question: str | Texts,
        *,
        nframes: int = ...,
        max_new_tokens: int = ...,
        stream: Stream = ...,
    ) -> list[Any]: ...
    def ask(
        self,
        video: Media | Clips,
        question: str | Texts,
        *,
        nframes: int = FRAMES,
        max_new_tokens: int = NEW_TOKENS,
        stream: Stream = None,
    ) -> Any:
        """Answer questions about clips, greedily; each question alone. ``chat`` has several turns.

        Args:
            video: path of a video, a photo, or a folder of frames; a list of them gives a list of results.
            question: free text; a list of questions gives a list of answers, and encodes the clip once.
            nframes: number of frames for the host, evenly spaced.
            max_new_tokens: upper limit of an answer's length.
            stream: called with each piece of an answer, such as ``lambda text: print(text, end="")``.
        """
        if isinstance(video, (list, tuple)):
            options: dict[str, Any] = {"nframes": nframes, "max_new_tokens": max_new_tokens, "stream": stream}
            return [self.ask(clip, question, **options) for clip in video]
        answers: list[Answer] = []
        for text in [question] if isinstance(question, str) else question:
            chat = Chat(self, video, nframes, encoding=answers[-1].encoding if answers else None)
            answers.append(chat.ask(text, max_new_tokens=max_new_tokens, stream=stream))
        return answers[0] if isinstance(question, str) else answers

    def chat(self, video: Media, nframes: int = FRAMES) -> Chat:
        """Start a conversation about one clip.

        Args:
            video: path of a video, a photo, or a folder of frames.
            nframes: number of frames for the host, evenly spaced.
        """
        return Chat(self, video, nframes)

    def look(self, video: Media, *, nframes: int = FRAMES) -> Answer:
        """Encode a video without a question; the answer's text is empty."""
        return self.answer_of(self.prepare(video, "", nframes))

    def encode(self, video: Media, *, nframes: int = FRAMES) -> Encoding:
        """The fused tokens of a video, with gate and contribution."""
        return self.look(video, nframes=nframes).encoding

    def prepare(self, video: Media, question: str, nframes: int) -> dict[str, Any]:
        """One question about one video as a batch on the model's device."""
        return self.batch_of([turn("user", question, media_entry(video, nframes))])

    def batch_of(self, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A conversation as a batch on the model's device."""
        return dict(self.processor.apply_chat_template(list(messages)).to(self.adapter.device))

    def answer_of(self, inputs: dict[str, Any], encoding: Encoding | None = None) -> Answer:
        """An answer without text to a batch about one clip.

        Args:
            inputs: the batch.
            encoding: of the clip; None encodes it.
        """
        if encoding is None:
            with torch.no_grad():
                encoding = self.adapter.encode(**inputs)
        (clip,) = inputs["generative_clips"]
        return Answer("", encoding, clip.frames, clip.plan, model=repr(self.adapter))

    @property
    def is_pico(self) -> bool:
        """True if the host is pico's, as shipped or trained further: it has seen rendered rooms only."""
        record = files.read_json(PICO_DIR / "host" / "config.json", "the shipped host")["text_config"]
        text = self.adapter.config.get_text_config()
        return all(getattr(text, name, None) == record[name] for name in _SIZES)

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, {self.adapter!r})"

    @property
    def model(self) -> Vega3DAdapter:
        """``adapter``, by its name in version 0.1."""
        moved.warn("Assistant.model", "Pipeline.adapter")
        return self.adapter

    @classmethod
    def load(cls, *args: Any, say: Write | None = None, **settings: Any) -> Pipeline:
        """``vega3d.load``, as version 0.1 has it."""
        from vega3d.pipeline.loading import load

        moved.warn("vega3d.assistant.Assistant.load", "vega3d.load")
        options = settings if say is None else {**settings, "log": say}
        return load(*args, **options)


class Chat:
    """A conversation about one clip, which is encoded once.

    Args:
        pipeline: the model.
        video: path of a video, a photo, or a folder of frames.
        nframes: number of frames for the host.
        encoding: of the clip; None encodes it with the first question.

    Attributes:
        messages: the conversation so far, in transformers' form.
    """

    def __init__(
        self, pipeline: Pipeline, video: Media, nframes: int = FRAMES, *, encoding: Encoding | None = None
    ) -> None:
        self.pipeline, self.encoding = pipeline, encoding
        self.messages: list[dict[str, Any]] = []
        self._entry = media_entry(video, nframes)

    def ask(self, question: str, *, max_new_tokens: int = NEW_TOKENS, stream: Stream = None) -> Answer:
        """Answer the next question of the conversation, greedily.

        Args:
            question: free text.
            max_new_tokens: upper limit of the answer's length.
            stream: called with each piece of the answer as it is generated.
        """
        asked = turn("user", question, *([] if self.messages else [self._entry]))
        pipeline, inputs = self.pipeline, self.pipeline.batch_of([*self.messages, asked])
        answer = pipeline.answer_of(inputs, self.encoding)
        self.encoding = answer.encoding
        text = {name: value for name, value in inputs.items() if name in _TEXT}
        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False}
        if stream is not None:
            options["streamer"] = _Stream(pipeline.processor.tokenizer, stream)
        with torch.no_grad():
            tokens = pipeline.adapter.generate(encoding=answer.encoding, **text, **options)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        written = pipeline.processor.batch_decode(new, skip_special_tokens=True)[0].strip()
        self.messages += [asked, turn("assistant", written)]
        return dataclasses.replace(answer, text=written, question=question)

    def __repr__(self) -> str:
        return f"Chat({self._entry}, {len(self.messages) // 2} questions so far)"


class _Stream(TextStreamer):  # type: ignore[misc]  # transformers is untyped here
    """Passes text on as soon as its words are complete."""

    def __init__(self, tokenizer: Any, write: Write) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._write = write

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Pass a piece on."""
        self._write(text)


def turn(role: str, text: str, *media: dict[str, Any]) -> dict[str, Any]:
    """A message of one turn: media, then text."""
    return {"role": role, "content": [*media, {"type": "text", "text": text}]}


def media_entry(video: Media, nframes: int) -> dict[str, Any]:
    """The entry of a message for a video, a photo, or a folder of frames."""
    path = os.path.expanduser(os.fspath(video))
    if is_photo(path):
        return {"type": "image", "image": path}
    return {"type": "video", "video": path, "nframes": nframes}


def attention_of(adapter: Vega3DAdapter) -> dict[str, str]:
    """The attention back end that each part really uses: host, backbone, and further streams by name."""
    host = getattr(adapter.config, "_attn_implementation", None) or "eager"
    names = unique_names(["host", "backbone", *(stream.spec.name for stream in adapter.streams)])
    used = (getattr(encoder, "attention", "unknown") for encoder in (adapter.backbone, *adapter.streams))
    return dict(zip(names, (str(host), *used), strict=True))
