"""The parts for lmms-eval, tested without it: messages, documents, scores and the two models.

That lmms-eval itself takes all of this is tested in `tests/evaluation/test_lmms_eval.py`.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

import vega3d
from tests.evaluation.run.test_all_tasks import truth
from vega3d.errors import ConfigError, InputError
from vega3d.evaluation import load_protocol
from vega3d.evaluation.media import Pictures
from vega3d.evaluation.metrics import captions
from vega3d.evaluation.metrics.java import Unavailable
from vega3d.evaluation.run.model import As, EvalModel, EvalRequest
from vega3d.lmms_eval import TASKS, docs
from vega3d.lmms_eval.answering import Request, answer_alone, answers
from vega3d.lmms_eval.messages import Usual, from_chat, from_simple, usual, with_system
from vega3d.pipeline import Pipeline
from vega3d.rooms import export_rooms

ROOT = Path(__file__).parents[3]
PROTOCOLS = ("multi3drefer/official", "scan2cap/vega", "scanqa/vega", "scanrefer/textbox", "sqa3d")
FRAMES = 4


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java for METEOR, which takes seconds to start and is tested with the captions."""

    def unavailable(*_: Any) -> Any:
        raise Unavailable("not in this test")

    monkeypatch.setattr(captions, "meteor", unavailable)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small rooms."""
    root = tmp_path_factory.mktemp("rooms")
    export_rooms(root, 2, width=128, height=128, frames=8, per_type=1)
    return sorted((root / "rooms").glob("*.mp4"))


@pytest.fixture(scope="module")
def pico() -> Pipeline:
    return vega3d.load("pico", device="cpu")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def about(clip: Path, words: str) -> list[dict[str, Any]]:
    return user({"type": "video", "url": str(clip)}, text(words))


def test_a_video_and_a_text_are_one_question_about_a_clip() -> None:
    asked = usual(with_system(from_chat(about(Path("a.mp4"), "how many?")), "help"))
    assert asked == Usual(EvalRequest("how many?", Path("a.mp4"), "help"), "{image}", None)


def test_both_forms_of_a_question_are_the_same_question() -> None:
    chat = from_chat(about(Path("a.mp4"), "how many?"))
    assert chat == from_simple("how many?", ["a.mp4"])


def test_a_system_prompt_of_the_task_comes_before_the_users() -> None:
    messages = [{"role": "system", "content": [text("task")]}, *about(Path("a.mp4"), "?")]
    found = usual(with_system(from_chat(messages), "ours"))
    assert found is not None
    assert found.request.system == "task"


def test_labels_that_count_pictures_are_seen_as_one_label() -> None:
    pictures = [{"type": "image", "url": f"{n}.jpg", "clip": "clip"} for n in range(3)]
    parts = [part for n, picture in enumerate(pictures) for part in (text(f"Frame-{n}: "), picture)]
    found = usual(from_chat(user(*parts, text("?"))))
    assert found == Usual(EvalRequest("?", Pictures(("0.jpg", "1.jpg", "2.jpg"))), "Frame-{n}: {image}", 3)


@pytest.mark.parametrize(
    "messages",
    [
        user(text("first"), {"type": "video", "url": "a.mp4"}, text("?")),
        user({"type": "video", "url": "a.mp4"}, {"type": "video", "url": "b.mp4"}, text("?")),
        user({"type": "image", "url": Image.new("RGB", (8, 8))}, text("?")),
        [*about(Path("a.mp4"), "?"), {"role": "assistant", "content": [text("4")]}, *user(text("sure?"))],
        user(text("no picture")),
    ],
    ids=["text first", "two clips", "in memory", "turns", "text only"],
)
def test_a_message_of_another_shape_stays_a_message(messages: list[dict[str, Any]]) -> None:
    assert usual(from_chat(messages)) is None


def test_pictures_are_a_clip_only_if_somebody_says_so() -> None:
    chat = user({"type": "image", "url": "0.jpg"}, {"type": "image", "url": "1.jpg"}, text("?"))
    apart, together = (usual(from_chat(chat, clip=clip)) for clip in (False, True))
    assert apart is not None
    assert together is not None
    assert (apart.request.media, together.request.media) == (
        Pictures(("0.jpg", "1.jpg"), clip=False),
        Pictures(("0.jpg", "1.jpg"), clip=True),
    )


def test_pictures_are_all_shown_unless_the_task_says_that_they_are_a_video(
    pico: Pipeline, tmp_path: Path
) -> None:
    places = [str(tmp_path / f"{n}.png") for n in range(3)]
    for shade, place in enumerate(places):
        Image.new("RGB", (64, 64), (80 * shade, 90, 40)).save(place)

    def request(**marks: bool) -> Request:
        pictures = [{"type": "image", "url": place, "clip": "clip", **marks} for place in places]
        return Request(from_chat(user(*pictures, text("How many?"))), {"max_new_tokens": 4})

    asked = EvalRequest("How many?", Pictures(tuple(places)))
    for frames, asking in ((3, request()), (2, request(sampled=True))):
        expected = EvalModel(pico, frames, max_new_tokens=4)
        usual_way = answers(EvalModel(pico, 2), [asking])
        assert usual_way == expected.answer([asked])
        read = usual(asking.messages)
        assert read is not None
        assert (read.frames or 2) == frames


def test_sound_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="audio"):
        from_chat(user({"type": "audio", "url": "a.wav"}, text("?")))


@pytest.mark.parametrize(
    "options",
    [{"do_sample": True}, {"temperature": 0.7}, {"num_beams": 4}],
    ids=["sampling", "temperature", "beams"],
)
def test_a_task_that_is_not_greedy_is_refused(options: dict[str, Any], pico: Pipeline) -> None:
    with pytest.raises(ConfigError, match="--gen_kwargs"):
        answers(EvalModel(pico, FRAMES), [Request(user(text("?")), options)])


def test_an_answer_ends_at_the_tasks_own_stop_and_not_at_the_harness_default() -> None:
    said = "one\n\ntwo###three"
    assert Request([], {"until": ["\n\n"]}).cut(said) == said
    assert Request([], {"until": ["\n\n", "###"]}).cut(said) == "one\n\ntwo"


def test_answers_come_in_the_order_of_the_questions(clips: list[Path], pico: Pipeline) -> None:
    asked = [("How many chairs are in this room?", 0), ("Is this a room?", 1), ("What is this?", 0)]
    requests = [Request(from_chat(about(clips[n], q)), {"max_new_tokens": 4}) for q, n in asked]
    answerer = EvalModel(pico, FRAMES, max_new_tokens=4)
    expected = [answerer.answer([EvalRequest(question, clips[n])])[0] for question, n in asked]
    seen: list[int] = []
    assert answers(EvalModel(pico, FRAMES), requests, 2, seen.append) == expected
    assert sum(seen) == 3


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("send", ["images", "video"])
def test_a_message_alone_is_answered_like_a_question_about_a_clip(
    clips: list[Path], pico: Pipeline, send: As, plain: bool
) -> None:
    messages = with_system(from_chat(about(clips[0], "How many chairs are in this room?")), "You help.")
    request = Request(messages, {"max_new_tokens": 4})
    model = EvalModel(pico, FRAMES, send, plain=plain, max_pixels=64 * 64)
    assert answer_alone(model, request) == answers(model, [request])[0]


def test_every_task_names_functions_that_exist_and_the_numbers_of_its_protocol() -> None:
    found = {config["task"]: (config, protocol) for config, protocol in tasks()}
    assert sorted(protocol for _, protocol in found.values()) == list(PROTOCOLS)
    for name, (config, protocol) in found.items():
        assert [metric["metric"] for metric in config["metric_list"]] == ["score", *docs.metrics_of(protocol)]
        assert (
            config["generation_kwargs"]["max_new_tokens"] == load_protocol(protocol).benchmark.max_new_tokens
        )
        assert name.replace("_", "/", 1) == protocol or name == protocol
        named = [value for value in config.values() if isinstance(value, Named)]
        for function in [*named, *(metric["aggregation"] for metric in config["metric_list"])]:
            module, _, attribute = function.rpartition(".")
            assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_document_asks_what_eval_run_asks(protocol: str, every_benchmark: Path) -> None:
    chosen = load_protocol(protocol)
    benchmark = chosen.benchmark
    questions, found = chosen.samples(every_benchmark), docs.docs_of(protocol, every_benchmark)
    assert len(found) == len(questions) > 0
    for question, doc in zip(questions, found, strict=True):
        asked = EvalRequest(chosen.prompt(question.record), question.media, benchmark.system)
        shown = len(doc["media"]) if benchmark.media.all_frames else None
        assert usual(from_chat(docs.doc_to_messages(doc))) == Usual(asked, benchmark.media.label, shown)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_task_scores_as_its_protocol_does(protocol: str, every_benchmark: Path) -> None:
    chosen = load_protocol(protocol)
    questions = chosen.samples(every_benchmark)
    said = [truth(question) if number % 2 else "?!" for number, question in enumerate(questions)]
    found = docs.docs_of(protocol, every_benchmark)
    rows = [docs.process_results(doc, [answer]) for doc, answer in zip(found, said, strict=True)]
    records = [chosen.answered(q.record, answer) for q, answer in zip(questions, said, strict=True)]
    expected = chosen.score(records)
    totals = {metric: docs.aggregate([row[metric] for row in rows]) for metric in docs.metrics_of(protocol)}
    assert totals == pytest.approx(expected.headline, abs=1e-12)
    own = [row["score"]["score"] for row in rows]
    assert own == pytest.approx([chosen.score_of(sample) for sample in expected.per_sample], abs=1e-12)
    assert docs.mean_score([row["score"] for row in rows]) == pytest.approx(sum(own) / len(own))
    assert min(own) < max(own)


def test_the_simple_form_shows_pictures_in_memory(every_benchmark: Path) -> None:
    doc = docs.docs_of("scanqa/vega", every_benchmark)[0]
    pictures = docs.doc_to_visual(doc)
    assert [picture.size for picture in pictures] == [(96, 72)] * 5


def test_data_that_nobody_named_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(docs.DATA, raising=False)
    with pytest.raises(ConfigError, match=f"export {docs.DATA}"):
        docs.read_docs([{"protocol": "sqa3d"}])


def test_the_module_prints_where_the_tasks_lie(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vega3d.lmms_eval"])
    runpy.run_module("vega3d.lmms_eval", run_name="__main__")
    assert capsys.readouterr().out == f"{TASKS}\n"


def test_the_entry_point_names_two_models(harness: None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["lmms_eval.models"]["vega3d"].partition(":")
    found = getattr(importlib.import_module(module), name)()
    assert found.model_id == "vega3d"
    assert model(found.chat_class_path).is_simple is False
    assert model(found.simple_class_path).is_simple is True


@pytest.mark.parametrize("kind", ["Vega3DChat", "Vega3DSimple"])
def test_a_model_answers_instances_of_lmms_eval(
    harness: None, clips: list[Path], pico: Pipeline, kind: str
) -> None:
    question = "How many chairs are in this room?"
    lm = model(f"vega3d.lmms_eval.model.{kind}")(device="cpu", max_num_frames=FRAMES, batch_size="2")
    lm.task_dict = {"task": {"test": [{"clip": clip} for clip in clips]}}
    options = {"max_new_tokens": 4, "until": ["\n\n"], "temperature": 0.0}

    def instance(number: int) -> SimpleNamespace:
        if lm.is_simple:
            args: tuple[Any, ...] = (question, options, lambda doc: [str(doc["clip"])])
        else:
            args = (question, lambda doc: about(doc["clip"], question), options)
        return SimpleNamespace(args=(*args, number, "task", "test"))

    answerer = EvalModel(pico, FRAMES, max_new_tokens=4)
    asked = [EvalRequest(question, clip, "You are a helpful assistant.") for clip in clips]
    expected = [answerer.answer([one])[0] for one in asked]
    assert lm.generate_until([instance(0), instance(1)]) == expected


def test_a_misspelt_number_is_refused(harness: None) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        model("vega3d.lmms_eval.model.Vega3DChat")(batch_size="auto")


class Named(str):
    """The dotted name behind ``!function``."""


class Loader(yaml.SafeLoader):
    """Reads a task's YAML without importing what it names."""


Loader.add_constructor("!function", lambda loader, node: Named(loader.construct_scalar(node)))  # type: ignore[no-untyped-call]


def tasks() -> list[tuple[dict[str, Any], str]]:
    """Each task's YAML, joined with what it includes, and its protocol."""
    found = []
    for file in sorted(TASKS.glob("*.yaml")):
        config = yaml.load(file.read_text(encoding="utf-8"), Loader)
        shared = yaml.load((TASKS / config.pop("include")).read_text(encoding="utf-8"), Loader)
        stub = TASKS / config["dataset_kwargs"]["data_files"]["test"]
        found.append((shared | config, json.loads(stub.read_text(encoding="utf-8"))["protocol"]))
    return found


def model(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands where lmms-eval is: a base class for models and a place for a manifest."""

    class Base:
        rank = 0

    api, registry = ModuleType("lmms_eval.api.model"), ModuleType("lmms_eval.models.registry_v2")
    api.lmms = Base  # type: ignore[attr-defined]
    registry.ModelManifest = SimpleNamespace  # type: ignore[attr-defined]
    for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, api.__name__, api)
    monkeypatch.setitem(sys.modules, registry.__name__, registry)
    monkeypatch.delitem(sys.modules, "vega3d.lmms_eval.model", raising=False)
