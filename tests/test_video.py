"""Frame plans, sampling and decoding, on videos that the tests write themselves."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vega3d._utils.torchvision  # noqa: F401  # must run before qwen-vl-utils is imported

# isort: split
from qwen_vl_utils import vision_process

from tests import media
from vega3d.errors import InputError, MediaError, MediaNotFoundError
from vega3d.media.decoding import VideoInfo, frame_range, probe, read_frames, sample_indices
from vega3d.media.frame_plan import FramePlan

indices = st.lists(st.integers(0, 50), min_size=1, max_size=20)


@given(indices)
def test_a_per_frame_plan_describes_every_host_frame_by_itself(host: list[int]) -> None:
    plan = FramePlan.per_frame(host)
    assert [plan.generative[link[0]] for link in plan.host_to_generator] == host
    assert all(len(link) == 1 for link in plan.host_to_generator)


@given(indices)
def test_a_per_frame_plan_encodes_each_source_frame_once(host: list[int]) -> None:
    plan = FramePlan.per_frame(host)
    assert len(set(plan.generative)) == len(plan.generative)
    assert plan.union == tuple(sorted(set(host)))


def test_a_plan_may_show_the_generator_frames_that_the_host_never_sees() -> None:
    plan = FramePlan(host=(4, 8), generative=(3, 4, 7, 8), host_to_generator=((0, 1), (2, 3)))
    assert plan.union == (3, 4, 7, 8)


def test_a_plan_takes_and_has_the_field_of_version_0_1_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="links is now host_to_generator"):
        plan = FramePlan(host=(4,), generative=(3, 4), links=((0, 1),))
    assert plan == FramePlan((4,), (3, 4), ((0, 1),))
    with pytest.warns(DeprecationWarning, match=r"FramePlan\.host_to_generator"):
        assert plan.links == ((0, 1),)


@pytest.mark.parametrize(
    ("host", "generative", "links"),
    [
        ((), (0,), ()),
        ((0,), (), ((0,),)),
        ((-1,), (0,), ((0,),)),
        ((0, 1), (0, 1), ((0,),)),
        ((0, 1), (0, 1), ((0,), ())),
        ((0,), (0,), ((1,),)),
        ((0,), (0,), ((-1,),)),
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused(
    host: tuple[int, ...], generative: tuple[int, ...], links: tuple[tuple[int, ...], ...]
) -> None:
    with pytest.raises(InputError, match="frame plan"):
        FramePlan(host, generative, links)


# --- sampling: qwen-vl-utils is the oracle

infos = st.builds(
    VideoInfo,
    path=st.just("clip.mp4"),
    n_frames=st.integers(2, 3000),
    fps=st.floats(1.0, 120.0),
    width=st.just(64),
    height=st.just(48),
)


def by_qwen_vl_utils(info: VideoInfo, entry: dict[str, float]) -> list[int]:
    start, end, total = vision_process.calculate_video_frame_range(entry, info.n_frames, info.fps)
    count = vision_process.smart_nframes(entry, total_frames=total, video_fps=info.fps)
    return torch.linspace(start, end, count).round().long().tolist()


@given(infos, st.floats(0.1, 60.0), st.integers(1, 20), st.integers(20, 800))
def test_sampling_by_rate_picks_the_frames_that_qwen_vl_utils_picks(
    info: VideoInfo, fps: float, low: int, high: int
) -> None:
    entry = {"fps": fps, "min_frames": low, "max_frames": min(high, info.n_frames)}
    try:
        expected = by_qwen_vl_utils(info, entry)
    except ValueError:
        return
    got = sample_indices(info, fps=fps, min_frames=low, max_frames=high)
    assert list(got) == expected


@given(infos)
def test_sampling_without_arguments_is_qwen_vl_utils_default(info: VideoInfo) -> None:
    assert list(sample_indices(info)) == by_qwen_vl_utils(info, {})


@given(infos, st.integers(2, 200))
def test_sampling_a_number_of_frames_rounds_as_qwen_vl_utils_does(info: VideoInfo, nframes: int) -> None:
    try:
        expected = by_qwen_vl_utils(info, {"nframes": nframes})
    except ValueError:
        with pytest.raises(InputError):
            sample_indices(info, nframes=nframes)
    else:
        assert list(sample_indices(info, nframes=nframes)) == expected


@given(infos, st.floats(0.0, 20.0), st.floats(0.5, 20.0))
def test_sampling_between_two_times_agrees_with_qwen_vl_utils(
    info: VideoInfo, start: float, length: float
) -> None:
    try:
        expected = by_qwen_vl_utils(info, {"video_start": start, "video_end": start + length})
    except ValueError:
        return
    assert list(sample_indices(info, start=start, end=start + length)) == expected


@given(st.integers(1, 60), st.floats(1.0, 60.0), st.integers(1, 4))
def test_sampled_frames_exist_and_are_in_order(count: int, fps: float, factor: int) -> None:
    got = sample_indices(VideoInfo("clip.mp4", count, fps, 64, 48), factor=factor)
    assert list(got) == sorted(set(got))
    assert got[0] >= 0
    assert got[-1] < count


def test_a_video_of_one_frame_gives_that_frame() -> None:
    info = VideoInfo("clip.mp4", 1, 10.0, 64, 48)
    assert sample_indices(info) == (0,)
    assert sample_indices(info, nframes=1) == (0,)


def test_a_single_frame_is_the_one_in_the_middle() -> None:
    assert sample_indices(VideoInfo("clip.mp4", 9, 10.0, 64, 48), nframes=1) == (4,)
    assert sample_indices(VideoInfo("clip.mp4", 9, 10.0, 64, 48), nframes=2, factor=4) == (2, 6)


def test_asking_for_more_frames_than_there_are_says_how_many_there_are() -> None:
    with pytest.raises(InputError, match="2 to 5 frames"):
        sample_indices(VideoInfo("clip.mp4", 5, 10.0, 64, 48), nframes=8)


def test_a_rate_and_a_number_together_are_refused() -> None:
    with pytest.raises(InputError, match="not both"):
        sample_indices(VideoInfo("clip.mp4", 50, 10.0, 64, 48), nframes=8, fps=2.0)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(fps: float) -> None:
    with pytest.raises(InputError, match="positive"):
        sample_indices(VideoInfo("clip.mp4", 50, 10.0, 64, 48), fps=fps)


def test_times_outside_the_video_are_refused() -> None:
    with pytest.raises(InputError, match="Invalid start and end"):
        frame_range(VideoInfo("clip.mp4", 50, 10.0, 64, 48), start=9.0, end=12.0)


# --- decoding


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
    ],
)
def test_every_frame_is_found_under_its_own_number(tmp_path: Path, name: str, codec: str) -> None:
    path = media.write_video(tmp_path / name, 13, codec=codec)
    info = probe(path)
    assert (info.n_frames, info.width, info.height) == (13, 64, 48)
    assert info.fps == pytest.approx(8.0, rel=0.01)
    assert [media.number_of(frame) for frame in read_frames(path, range(13))] == list(range(13))


def test_frames_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "a.mp4", 12)
    frames = read_frames(path, [7, 2, 7])
    assert frames.shape == (3, 3, 48, 64)
    assert frames.dtype == torch.uint8
    assert [media.number_of(frame) for frame in frames] == [7, 2, 7]


def test_frames_of_a_variable_rate_keep_their_numbers_and_give_the_true_mean_rate(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "a.mp4", 6, times=[0, 0.1, 0.15, 0.7, 1.0, 2.5])
    info = probe(path)
    assert (info.n_frames, info.fps) == (6, pytest.approx(2.0))  # its header says 7
    assert [media.number_of(frame) for frame in read_frames(path, range(6))] == list(range(6))


def test_a_fragmented_file_whose_header_counts_nothing_is_counted_by_decoding(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    assert probe(media.write_video(tmp_path / "a.mp4", 9, options=options)).n_frames == 9


def test_a_video_of_one_frame_is_read(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "a.mp4", 1)
    assert probe(path).n_frames == 1
    assert read_frames(path, [0]).shape == (1, 3, 48, 64)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_a_video_is_turned_upright(tmp_path: Path, turn: int) -> None:
    plain = read_frames(media.write_video(tmp_path / "plain.mp4", 2), [0])[0]
    path = media.write_video(tmp_path / "turned.mp4", 2, rotation=turn)
    turned = read_frames(path, [0])[0]
    assert torch.equal(turned, torch.rot90(plain, turn // 90, (1, 2)))
    assert (probe(path).height, probe(path).width) == turned.shape[1:]


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "a.mp4", 4)
    assert probe("file://" + path).n_frames == 4


def test_a_folder_of_pictures_is_a_video_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        media.PIL.Image.fromarray(media.frame(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    info = probe(tmp_path, fps=4.0)
    assert (info.n_frames, info.fps, info.duration) == (3, 4.0, 0.75)
    assert [media.number_of(frame) for frame in read_frames(tmp_path, range(3))] == [1, 2, 10]


def test_a_folder_without_a_rate_warns_that_two_a_second_are_assumed(tmp_path: Path) -> None:
    media.photo().save(tmp_path / "0.png")
    with pytest.warns(UserWarning, match=r"2\.0 frames a second are assumed"):
        assert probe(tmp_path).fps == 2.0


def test_a_folder_of_pictures_of_differing_size_is_refused(tmp_path: Path) -> None:
    media.photo(80, 60).save(tmp_path / "0.png")
    media.photo(80, 64).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match=r"differ in size[\s\S]*80x60, 80x64"):
        read_frames(tmp_path, [0, 1])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no pictures"):
        probe(tmp_path, fps=1.0)


# --- what cannot be used


def test_a_truncated_video_is_an_error_that_counts_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"truncated[\s\S]*the 30 frames that its header lists"):
        probe(media.write_truncated(tmp_path / "a.mp4"))


def test_a_video_cut_before_its_index_is_an_error(tmp_path: Path) -> None:
    path = Path(media.write_video(tmp_path / "a.mp4", 12))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(MediaError, match=r"Cannot decode[\s\S]*900 bytes[\s\S]*truncated"):
        probe(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(media.write_truncated(tmp_path_factory.mktemp("cut") / "whole.mp4", share=1.0))


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0.01, 0.99))
def test_no_truncation_ever_gives_a_shorter_video(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    cut = whole.with_name("cut.mp4")
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError):
        probe(cut)


def test_an_empty_file_says_that_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(MediaError, match="the file is empty"):
        probe(tmp_path / "a.mp4")


def test_text_named_mp4_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("hello\n" * 100)
    with pytest.raises(MediaError, match="as a video"):
        probe(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no video stream[\s\S]*audio"):
        probe(media.write_sound(tmp_path / "a.mp4"))


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no frames"):
        probe(media.write_no_frames(tmp_path / "a.mp4"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"nowhere\.mp4"):
        probe(tmp_path / "nowhere.mp4")


def test_an_address_that_does_not_answer_says_to_download_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEGA3D_ALLOW_HOSTS", "127.0.0.1")
    with pytest.raises(MediaNotFoundError, match=r"is a URL and could not be reached[\s\S]*download"):
        probe("http://127.0.0.1:9/clip.mp4")


def test_a_frame_beyond_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="ends before frame 4"):
        read_frames(media.write_video(tmp_path / "a.mp4", 4), [0, 4])


@pytest.mark.parametrize("numbers", [[], [-1]])
def test_no_frames_or_negative_ones_are_refused(tmp_path: Path, numbers: list[int]) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        read_frames(media.write_video(tmp_path / "a.mp4", 2), numbers)


def test_decoding_warns_of_nothing(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "a.mp4", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(read_frames(path, range(probe(path).n_frames))).shape[0] == 4
