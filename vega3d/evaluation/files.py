"""Files of a benchmark's folder: rows, checked, and media that rows name.

Decision: a question without text, or with a scene that is not a name, would be asked as another question. So
the file is refused before a model is loaded, and the error names file and line. Fields that only scores need
are left to the scorers. Records name files below the folder only, so that a data set cannot read others.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vega3d._utils.files import inside
from vega3d.errors import ConfigError, InputError
from vega3d.evaluation.media import EMBEDDED, Pictures, parquet
from vega3d.evaluation.records import Field, is_text, is_text_list

Row = dict[str, Any]
Placed = tuple[str, Row]  # "line 7" or "row 7", and the row
FIX = "correct the record; if you set the link yourself, pass --follow-links"


@dataclass(frozen=True)
class Folder:
    """Folder of a benchmark, as its reader gets it.

    Attributes:
        root: it may be a link.
        benchmark: name for error messages.
        follow_links: follow links that lead out of the folder.
    """

    root: Path
    benchmark: str
    follow_links: bool = False

    def below(self, *names: str) -> Folder:
        """A folder in this one; it may be a link."""
        return replace(self, root=self.root.joinpath(*names))

    def first(self, *names: str) -> Path:
        """The first of the named files that exists.

        Raises:
            InputError: none does.
        """
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise self.unusable("holds no questions of", f"none of {', '.join(names)}", "one of these files")

    def place(self, name: str) -> Path:
        """Path of a file or of a folder of pictures that a record names; it need not exist.

        Raises:
            InputError: it is outside the folder, or one of its pictures is.
        """
        path = self._inside(name)
        if path.is_dir() and not self.follow_links:
            with os.scandir(path) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
            for link in links:
                self._inside(f"{name}/{link}")
        return path

    def pictures(self, names: Sequence[str], *, clip: bool = True) -> Pictures:
        """Pictures that a record names one by one.

        Raises:
            InputError: one of them is outside the folder.
        """
        for name in names:
            cell = EMBEDDED.fullmatch(name)
            self.place(cell["file"] if cell else name)
        return Pictures(tuple(str(self.root / os.path.normpath(name)) for name in names), clip)

    def unusable(self, what: str, got: str, expected: str) -> InputError:
        """The error for a folder without usable files of questions."""
        return InputError(
            f"Invalid folder: {self.root} {what} {self.benchmark}.",
            got=got,
            expected=expected,
            fix=f"`vega3d eval check {self.benchmark} --data {self.root}` names their source",
        )

    def _inside(self, name: str) -> Path:
        return inside(self.root, name, follow_links=self.follow_links, fix=FIX)


def is_sentence(value: object) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_name(value: object) -> bool:
    """Text or an integer that names one file, without parts of a path."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    name = str(value)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def are_paths(value: object) -> bool:
    """A list of at least one path."""
    return is_text_list(value) and all(map(is_sentence, value if isinstance(value, list) else ()))


def sentence(name: str, *other_names: str) -> Field:
    """A field of text, or one of the fields that can stand for it."""
    return Field(name, is_sentence, "text that is not empty", other_names)


def scene_name(name: str) -> Field:
    """A field that names a scene or a folder."""
    return Field(name, is_name, "a name without '/'")


OPTIONS = Field("options", lambda value: value is None or is_text_list(value), "a list of texts, or null")
CHOICES = Field("choices", is_text_list, "a list of texts")


def identifier(name: str) -> Field:
    """A field that names a row."""
    return Field(name, is_text, "text or a number")


def rows_of(
    file: Path, required: Sequence[Field] = (), optional: Sequence[Field] = (), unique: Sequence[str] = ()
) -> list[Row]:
    """The rows of a JSON list, of JSON Lines or of a parquet file.

    Args:
        file: by its ending.
        required: fields that each row has.
        optional: fields that are usable where a row has them.
        unique: fields whose values no two rows share.

    Raises:
        InputError: the file cannot be read as such, or a row lacks a field.
        ConfigError: two rows share an id.
        DependencyError: it is parquet, and pyarrow is not installed.
    """
    return checked(_placed(file), file, required, optional, unique)


def checked(
    placed: Sequence[Placed],
    file: Path,
    required: Sequence[Field] = (),
    optional: Sequence[Field] = (),
    unique: Sequence[str] = (),
) -> list[Row]:
    """Rows that have all of these fields.

    Raises:
        InputError, ConfigError: as ``rows_of``.
    """
    places: dict[str, str] = {}
    for location, row in placed:
        for field in (*required, *(field for field in optional if field.name in row)):
            if problem := field.problem(row):
                raise unusable(file, location, field.name, problem, row.get(field.name), field.meaning)
        key = " ".join(str(row[name]) for name in unique if name in row)
        if key and key in places:
            raise ConfigError(
                "Invalid ids: two questions have one id.",
                got=f"{key!r} in {places[key]} and {location} of {file}",
                expected="unique ids",
                fix="check the data",
            )
        places[key] = location
    return [row for _, row in placed]


def unusable(file: Path, location: str, name: str, problem: str, value: object, expected: str) -> InputError:
    """The error for a field of a row."""
    return InputError(
        f"Invalid row: {file}, {location}: {name!r} is {problem}.",
        got=None if problem == "missing" else repr(value)[:200],
        expected=expected,
        fix="correct the row",
    )


def read_json(file: Path) -> Any:
    """Any value of a JSON file.

    Raises:
        InputError: the file cannot be read.
    """
    return _parsed(file, read_text(file))


def read_text(file: Path) -> str:
    """The text of a file, without the mark that some editors put in front.

    Raises:
        InputError: the file cannot be read.
    """
    with reading(file):
        return file.read_text(encoding="utf-8-sig")


def unreadable(file: Path, got: str) -> InputError:
    """The error for a file that holds no rows."""
    expected = "a JSON list, JSON Lines or parquet, one object a question"
    return InputError(f"Cannot read {file}.", got=got, expected=expected, fix="get the file again")


@contextlib.contextmanager
def reading(file: Path, location: str = "") -> Iterator[None]:
    """Turn a failed read inside the block into one typed error.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, NotImplementedError, RecursionError) as error:  # pyarrow's, too
        got = f"{location}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise unreadable(file, got) from None


def _placed(file: Path) -> list[Placed]:
    if file.suffix == ".parquet":
        with reading(file):
            rows = parquet().read_table(file).to_pylist()
    elif file.suffix == ".jsonl":
        lines = read_text(file).split("\n")  # `splitlines` would also cut at line breaks inside of strings
        numbered = [(f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
        return _objects(file, [(place, _parsed(file, line, f"{place}: ")) for place, line in numbered])
    else:
        rows = read_json(file)
    if isinstance(rows, dict):  # SQA3D wraps its list
        rows = next((value for value in rows.values() if isinstance(value, list)), None)
    if not isinstance(rows, list):
        raise unreadable(file, "something else than a list of objects")
    return _objects(file, [(f"row {number}", row) for number, row in enumerate(rows, 1)])


def _objects(file: Path, placed: list[tuple[str, Any]]) -> list[Placed]:
    for place, row in placed:
        if not isinstance(row, dict):
            raise unreadable(file, f"{place}: {type(row).__name__} in the place of an object")
    return placed


def _parsed(file: Path, text: str, place: str = "") -> Any:
    with reading(file, place):
        return json.loads(text)
