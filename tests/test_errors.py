"""Errors are one small tree; each is also the builtin that a caller would catch."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from vega3d import errors
from vega3d.errors import ConfigError, MediaNotFoundError, Vega3DError, nearest, unknown_choice

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
BUILTINS = {
    "ConfigError": ValueError,
    "MediaError": ValueError,
    "MediaNotFoundError": FileNotFoundError,
    "InputError": ValueError,
    "HostError": ValueError,
    "BackboneError": ValueError,
    "CheckpointError": ValueError,
    "StoreError": ValueError,
    "DependencyError": ImportError,
    "WriteError": OSError,
    "UnknownKeywordError": TypeError,
}
EXPLAINED = {"got": 1, "expected": 2, "fix": "mend it"}


def test_the_list_of_errors_is_complete() -> None:
    tree = {cls.__name__ for cls in Vega3DError.__subclasses__()}
    assert tree == set(BUILTINS)


@pytest.mark.parametrize("name", BUILTINS)
def test_an_error_can_be_caught_as_the_builtin_that_one_expects(name: str) -> None:
    with pytest.raises(BUILTINS[name]):
        raise getattr(errors, name)("It broke.")


@pytest.mark.parametrize("name", BUILTINS)
def test_an_error_says_what_got_expected_and_fix(name: str) -> None:
    error = getattr(errors, name)("It broke.", **EXPLAINED)
    assert str(error).splitlines() == ["It broke.", "  got:      1", "  expected: 2", "  fix:      mend it"]
    assert (error.what, error.got, error.expected, error.fix) == ("It broke.", 1, 2, "mend it")


def test_what_is_not_known_is_left_out() -> None:
    assert str(Vega3DError("It broke.", fix="mend it")).splitlines() == ["It broke.", "  fix:      mend it"]


@pytest.mark.parametrize("name", BUILTINS)
def test_an_error_comes_back_whole_from_another_process(name: str) -> None:
    error = getattr(errors, name)("It broke.", **EXPLAINED)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes: what a data worker does)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.fix == "mend it"


@pytest.mark.parametrize("name", BUILTINS)
def test_an_error_is_documented_with_its_builtin(name: str) -> None:
    assert f"| `{name}` | `{BUILTINS[name].__name__}` |" in PAGE.read_text(encoding="utf-8")


def test_a_missing_file_is_named_without_an_errno() -> None:
    assert str(MediaNotFoundError("a.mp4 is not there.")) == "a.mp4 is not there."


def test_an_unknown_choice_lists_all_and_names_the_nearest() -> None:
    error = unknown_choice("mode", "frames", ["window", "frame"])
    assert isinstance(error, ConfigError)
    assert error.expected == "one of 'frame', 'window'"
    assert error.fix == "did you mean 'frame'?"


def test_a_name_like_no_other_has_no_nearest() -> None:
    assert nearest("zzzz", ["frame"]) is None
    assert unknown_choice("mode", "zzzz", ["frame"]).fix == "pass one of the names above as mode"
