"""Hostile YAML ends in one typed error, at once: in a config file and in an override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vega3d._utils.plain_yaml import DEPTH, LONGEST
from vega3d.errors import ConfigError
from vega3d.settings import apply_overrides, read_yaml

BOMB = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10))
HOSTILE = {
    "no day of a calendar": "2001-99-99",
    "a number of 5,000 digits": "9" * 5000,
    "a hexadecimal number of 5,000 digits": "0x" + "f" * 5000,
    "a number of 30,000 parts in base 60": "1" + ":1" * 30_000,
    "a word as a number": "!!int x",
    "a word as a float": "!!float x",
    "a word as a time": "!!timestamp x",
    "a word as a truth value": "!!bool x",
    "bytes": "!!binary aGVsbG8=",
    "a set": "!!set {a, b}",
    "pairs": "!!pairs [a: 1]",
    "deep lists": "[" * 10_000 + "]" * 10_000,
    "deep lists that never end": "[" * 10_000,
    "deep mappings": "{a: " * 10_000 + "}" * 10_000,
    "a list in itself": "&a [*a]",
    "a mapping in itself": "&a {b: *a}",
    "no character": r'"\UFFFFFFFF"',
    "half a character": r'"\ud800"',
    "a zero byte": r'"\0"',
    "a number as a key": "{1: 2}",
    "a list as a key": "{? [1] : 2}",
}


def in_a_file(text: str, folder: Path) -> dict[str, Any]:
    (folder / "run.yaml").write_text(text, encoding="utf-8")
    return read_yaml(folder / "run.yaml")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_value_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        in_a_file(f"a: {text}\n", tmp_path)
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({}, [f"a={text}"])


@pytest.mark.timeout(60)
def test_lists_that_multiply_are_refused_before_they_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aliases"):
        in_a_file("a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + BOMB, tmp_path)


@pytest.mark.timeout(60)
def test_a_file_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bytes"):
        in_a_file("a: 1 # " + "x" * LONGEST, tmp_path)


@pytest.mark.timeout(60)
def test_many_keys_are_read_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    text = "".join(f"k{number}: 1\n" for number in range(9_000))
    assert len(in_a_file(text, tmp_path)) == 9_000


def test_an_override_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({}, [".".join("a" * (DEPTH + 1)) + "=1"])
    with pytest.raises(ConfigError, match="in a list of 1"):
        apply_overrides({"a": [1]}, [f"a.{'9' * 5000}=1"])


def test_a_value_that_is_used_twice_is_read_twice(tmp_path: Path) -> None:
    assert in_a_file("a: &x {n: [1, 2]}\nb: *x\nc: [*x]\n", tmp_path)["c"] == [{"n": [1, 2]}]


def test_a_day_stays_text(tmp_path: Path) -> None:
    assert in_a_file("trainer: {run_name: 2024-05-01}\n", tmp_path) == {"trainer": {"run_name": "2024-05-01"}}


@pytest.mark.parametrize("text", ["hub_token: hf_abc: x", "hub_token: !!int hf_abc", "hub_token: [hf_abc"])
def test_a_token_is_not_repeated_in_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        in_a_file(f"trainer:\n  {text}\n", tmp_path)
    assert "hf_abc" not in str(caught.value)
    assert "line 2" in str(caught.value) or "line 3" in str(caught.value)


@pytest.mark.parametrize(
    "override", ["hub_token=[hf_abc", "hub_token.x=hf_abc", "hub_token.0=1", "hub_token.x=!!int hf_abc"]
)
def test_a_token_is_not_repeated_in_an_error_about_an_override(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides({"trainer": {"hub_token": "hf_abc"}}, [f"trainer.{override}"])
    assert "hf_abc" not in str(caught.value)


PIECES = [
    *"abc01 :-[]{},&*!?|>'\"%#\n\\\t~=é\x00\ufeff",
    *("&a ", "*a", "!!int ", "!!float ", "!!timestamp ", "!!set ", "<<: ", "- ", "---\n", "a: "),
    *("2001-01-", "0x", "1e", ".inf", "\\ud8", "\\0"),
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    for override in (f"a={text}", f"{text}=1", text):
        try:
            record = apply_overrides({"a": [1, {"b": 2}]}, [override])
        except ConfigError:
            continue
        assert isinstance(record, dict)
