"""The recipe of every Qwen model card with our processor in the place of the host's, nothing else changed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests import media, processors, tiny
from tests.adapter.conftest import SETTINGS, wrap
from tests.processing.helpers import OURS, image, user, video
from vega3d import Vega3DConfig, WanBackbone, WanConfig
from vega3d.errors import InputError, MediaError
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor

# isort: split
import torchvision
from qwen_vl_utils import process_vision_info, vision_process

PAIRS = {"return_video_kwargs": True, "return_video_metadata": True}
Messages = list[dict[str, Any]]


# ---------------------------------------------------------------- qwen-vl-utils' readers


def read_video(
    path: str, start_pts: float = 0.0, end_pts: float | None = None, pts_unit: str = "sec", **_: Any
) -> tuple[torch.Tensor, None, dict[str, float]]:
    """Older torchvision's ``io.read_video``, which 0.28 has no more."""
    assert pts_unit == "sec"
    with av.open(path.removeprefix("file://")) as container:
        rate = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    kept = [
        f
        for at, f in enumerate(frames)
        if start_pts <= at / rate and (end_pts is None or at / rate <= end_pts)
    ]
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2), None, {"video_fps": rate}


READERS = ["torchvision", *(name for name in ("decord", "torchcodec") if importlib.util.find_spec(name))]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """qwen-vl-utils' way to read files, each that is installed."""
    name: str = request.param
    monkeypatch.setattr(vision_process, "FORCE_QWENVL_VIDEO_READER", name)
    if name == "torchvision" and not hasattr(torchvision.io, "read_video"):
        monkeypatch.setattr(torchvision.io, "read_video", read_video, raising=False)
    vision_process.get_video_reader_backend.cache_clear()
    yield name
    vision_process.get_video_reader_backend.cache_clear()


# ---------------------------------------------------------------- the cards, and what is compared


def patch_of(processor: Any) -> int:
    """``image_patch_size`` of process_vision_info: 14, or Qwen3-VL's 16."""
    return int(processor.image_processor.patch_size)


def card(processor: Any, rows: list[Messages], form: str) -> Any:
    """The recipe in one of the three forms of process_vision_info, for either processor."""
    text = [processor.apply_chat_template(row, tokenize=False, add_generation_prompt=True) for row in rows]
    told: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    if form == "plain":  # the card of Qwen2-VL
        images, videos = process_vision_info(rows, image_patch_size=patch_of(processor))
    elif form == "rates":  # the card of Qwen2.5-VL
        images, videos, kwargs = process_vision_info(rows, True, image_patch_size=patch_of(processor))
        told |= kwargs
        if not isinstance(processor, Vega3DProcessor):
            told = as_metadata(told, videos)
    else:  # the card of Qwen3-VL
        images, videos, kwargs = process_vision_info(rows, image_patch_size=patch_of(processor), **PAIRS)
        metadata = None
        if videos is not None:
            videos, metadata = zip(*videos, strict=True)
            videos, metadata = list(videos), list(metadata)
        told |= {"video_metadata": metadata, "do_resize": False, **kwargs}
    return processor(text=text, images=images, videos=videos, **told)


def as_metadata(told: dict[str, Any], videos: Any) -> dict[str, Any]:
    """A list of rates in the form in which transformers 5 takes it: there ``fps`` may be no list."""
    rates = told.pop("fps")
    described = [
        {"fps": rate, "total_num_frames": len(clip), "frames_indices": list(range(len(clip)))}
        for clip, rate in zip(videos or [], rates, strict=True)
    ]
    return {**told, "video_metadata": described or None}


def assert_equal(ours: Any, theirs: Any) -> None:
    """Every tensor of the host's, bit for bit, and nothing beside them but the generator's side."""
    assert set(ours) - OURS == set(theirs)
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Warnings about sizes and rates have tests of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


FRAMES = [media.PIL.Image.fromarray(media.frame(number, 96, 64)) for number in range(7)]
FORMS = ["plain", "rates", "pairs"]


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_everything_is_what_the_stock_processor_gives(
    host: Any, processor: Vega3DProcessor, form: str
) -> None:
    rows = [
        user(image(media.photo()), "What is this?"),
        user(video(FRAMES, sample_fps=4.0), image(media.photo(50, 90, 1)), video(FRAMES[:3]), "And these?"),
        user("No pictures here."),
    ]
    ours = card(processor, rows, form)
    assert_equal(ours, card(host, rows, form))
    assert [len(clip.frames) for clip in ours["generative_clips"]] == [
        len(clip.plan.host) for clip in ours["generative_clips"]
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [[image(media.photo()), "What?"], ["Hello?"]], ids=["image", "text"])
def test_without_a_video_it_is_what_the_stock_processor_gives(
    host: Any, processor: Vega3DProcessor, form: str, content: list[Any]
) -> None:
    ours = card(processor, [user(*content)], form)
    theirs = processor.processor(
        text=[processor.apply_chat_template(user(*content), tokenize=False)],
        images=process_vision_info(user(*content), image_patch_size=patch_of(host))[0],
        padding=True,
        return_tensors="pt",
        **({"do_resize": False} if form == "pairs" else {}),
    )
    assert_equal(ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_video_files_are_what_the_stock_processor_gives(
    host: Any, processor: Vega3DProcessor, clip: str, form: str, reader: str
) -> None:
    rows = [
        user(
            video(clip, fps=4.0),
            video(clip, nframes=2, min_pixels=1, max_pixels=9999),
            "What happens?",
        )
    ]
    ours, theirs = card(processor, rows, form), card(host, rows, form)
    assert_equal(ours, theirs)


def test_the_generator_gets_the_frames_that_the_host_gets(qwen: Vega3DProcessor) -> None:
    messages = user(video(FRAMES[:4]), "?")
    _, videos = process_vision_info(messages)
    batch = card(qwen, [messages], "rates")
    assert batch["generative_clips"][0].frames.dtype == torch.uint8
    assert torch.equal(batch["generative_clips"][0].frames.float(), videos[0])
    assert batch["generative_clips"][0].plan.host == (0, 1, 2, 3)


def test_frames_that_the_host_s_processor_leaves_out_are_not_encoded() -> None:
    processor = Vega3DProcessor(processors.host_processor("qwen3_vl"))
    batch = card(processor, [user(video(FRAMES * 2), "?")], "plain")  # it takes 4 of 14, as if at 24 a second
    assert batch["video_grid_thw"][0, 0] == 2
    assert batch["generative_clips"][0].plan.host == (0, 4, 9, 13)
    assert len(batch["generative_clips"][0].frames) == 4


def test_pairs_of_frames_and_metadata_need_not_be_split(host: Any, processor: Vega3DProcessor) -> None:
    messages = user(video(FRAMES, sample_fps=4.0), "?")
    text = processor.apply_chat_template(messages, tokenize=False)
    _, videos, kwargs = process_vision_info(messages, image_patch_size=patch_of(host), **PAIRS)
    ours = processor(text=[text], videos=videos, do_resize=False, **kwargs)
    assert_equal(ours, card(host, [messages], "pairs"))
    with pytest.raises(InputError, match="described twice"):
        processor(text=[text], videos=videos, video_metadata=[videos[0][1]])


def test_a_rate_is_the_rate_of_the_given_frames(qwen: Vega3DProcessor) -> None:
    batch = card(qwen, [user(video(FRAMES, sample_fps=4.0), video(FRAMES, sample_fps=1.0), "?")], "rates")
    assert batch["second_per_grid_ts"].tolist() == pytest.approx([0.5, 2.0])


# ---------------------------------------------------------------- which values mean which brightness


def dark(*values: float) -> torch.Tensor:
    """A clip of two frames with these values, floating point."""
    clip = torch.zeros(2, 3, 56, 56)
    clip.view(-1)[: len(values)] = torch.tensor(values)
    return clip


def pixels(processor: Vega3DProcessor, clip: torch.Tensor) -> torch.Tensor:
    batch = processor("<|video_pad|>", videos=[clip], fps=[2.0], do_sample_frames=False)
    shown: torch.Tensor = batch["generative_clips"][0].frames
    return shown


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.5, 1.0), [0, 128, 255]),  # a fraction below 1: 0..1
        ((0.0, 1.0, 2.0), [0, 1, 2]),  # above 1: 0..255
        ((0.0, 1.0, 1.0), [0, 1, 1]),  # whole numbers: a nearly black clip
        ((0.0, 12.4, 254.6), [0, 12, 255]),  # resized in floating point
    ],
)
def test_the_brightness_of_floating_frames(
    qwen: Vega3DProcessor, values: tuple[float, ...], expected: list[int]
) -> None:
    assert pixels(qwen, dark(*values)).flatten()[:3].tolist() == expected


def test_a_nearly_black_clip_is_what_the_stock_processor_gives(host: Any, processor: Vega3DProcessor) -> None:
    frames = [np.zeros((64, 96, 3), np.uint8) for _ in range(4)]
    frames[2][:32] = 1
    rows = [user(video([media.PIL.Image.fromarray(frame) for frame in frames]), "?")]
    for form in FORMS:
        assert_equal(card(processor, rows, form), card(host, rows, form))


def test_a_clip_that_could_be_black_or_white_is_taken_for_black_with_a_warning(qwen: Vega3DProcessor) -> None:
    with pytest.warns(UserWarning, match=r"no values but 0 and 1[\s\S]*0\.\.255"):
        pixels(qwen, dark(1.0))


@pytest.mark.parametrize("values", [(-1.0, 3.0), (256.0,), (float("nan"),)])
def test_values_that_are_no_pixels_are_refused(qwen: Vega3DProcessor, values: tuple[float, ...]) -> None:
    with pytest.raises(MediaError, match="Invalid values of an array of pixels"):
        pixels(qwen, dark(*values))


# ---------------------------------------------------------------- what is said


def test_that_frames_come_reduced_is_said_once(qwen: Vega3DProcessor) -> None:
    with pytest.warns(UserWarning, match=r"at that size[\s\S]*apply_chat_template"):
        card(qwen, [user(video(FRAMES), "?")], "pairs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        card(qwen, [user(video(FRAMES), "?")], "pairs")


def test_frames_without_a_rate_warn_of_the_rate_that_the_host_s_processor_assumes() -> None:
    qwen3 = Vega3DProcessor(processors.host_processor("qwen3_vl"))
    with pytest.warns(UserWarning, match=r"4 of 14 frames, at 24 a second[\s\S]*return_video_metadata"):
        card(qwen3, [user(video(FRAMES * 2), "?")], "plain")
    qwen = Vega3DProcessor(processors.host_processor("qwen2_5_vl"))
    with pytest.warns(UserWarning, match=r"14 of 14 frames, at 24 a second"):
        card(qwen, [user(video(FRAMES * 2), "?")], "plain")


def test_a_mode_that_needs_frames_in_between_says_that_there_are_none() -> None:
    config = Vega3DConfig(backbone=WanConfig(mode="window"))
    processor = Vega3DProcessor(processors.host_processor(), config)
    with pytest.warns(UserWarning, match="Frames in between, which its settings ask for"):
        batch = card(processor, [user(video(FRAMES[:4]), "?")], "pairs")
    assert batch["generative_clips"][0].plan.generative == (0, 1, 2, 3)


def test_a_mode_of_single_frames_misses_none_in_between(qwen: Vega3DProcessor) -> None:
    with pytest.warns(UserWarning, match="at that size. To give it"):
        card(qwen, [user(video(FRAMES[:4]), "?")], "pairs")


# ---------------------------------------------------------------- the whole script


@pytest.mark.parametrize("family", list(processors.HOSTS))
def test_the_script_of_a_card_answers_as_the_bare_host(family: str) -> None:
    host = tiny.make_host(family)
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)
    stock = processors.host_processor(family, host.config.vision_config.patch_size)
    rows = [user(image(media.photo()), "What is this?"), user(video(FRAMES), "What happens?")]
    answers = []
    for model, processor in ((host, stock), (wrap(host, wan), Vega3DProcessor(stock))):
        processor.tokenizer.padding_side = "left"
        inputs = card(processor, rows, "pairs").to("cpu")
        tokens = model.generate(**inputs, max_new_tokens=4)
        trimmed = [out[len(ids) :] for ids, out in zip(inputs.input_ids, tokens, strict=True)]
        answers.append(processor.batch_decode(trimmed, skip_special_tokens=True))
    assert answers[0] == answers[1]


# ---------------------------------------------------------------- nothing, in its several forms


@pytest.mark.parametrize("nothing", [None, [], [[]], [None]], ids=str)
def test_no_media_in_any_form_is_text_alone(host: Any, processor: Vega3DProcessor, nothing: Any) -> None:
    theirs = host(text=["Hello?"], padding=True, return_tensors="pt")
    assert_equal(processor(text=["Hello?"], images=nothing, padding=True, return_tensors="pt"), theirs)
    if nothing in (None, []):
        assert_equal(processor(text=["Hello?"], images=None, videos=nothing), theirs)
        assert_equal(processor(text=["Hello?"], videos=nothing, do_sample_frames=False, fps=[]), theirs)
