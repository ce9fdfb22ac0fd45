"""Can text alone answer the rooms' questions? Blind models, k-fold over scenes, against chance.

    python benchmarks/rooms_blind.py --scenes 400
    python benchmarks/rooms_blind.py --scenes 400 --records scannet

Three models see no video. *Frequency*: the best constant answer of the type (the most frequent letter, or the
number with the best mean relative accuracy). *Text*: scikit-learn on word n-grams of question and options;
it scores options one by one, or picks a range of the number. *Chance*: one in the number of options. Folds
never share a scene. The printed table stands in docs/rooms.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from vega3d.rooms import make_questions, make_room, render, scene_seed
from vega3d.rooms.formats.scannet import annotate
from vega3d.rooms.questions import MULTIPLE_CHOICE, QUESTION_TYPES

THRESHOLDS = np.linspace(0.5, 0.95, 10)
FOLDS = 5
FEWEST = 50  # questions of a type that is worth a line
Judge = Callable[[list["Row"], list["Row"]], tuple[np.ndarray, np.ndarray]]
Row = tuple[int, str, str, tuple[str, ...] | None, str]


def questions_of(index: int) -> list[Row]:
    """(scene, type, question, options, answer) of one room of the split train."""
    room = make_room(scene_seed("train", 0, index))
    clip = render(room, width=96, height=96, frames=24)
    asked = make_questions(room, clip, per_type=3)
    return [(index, q.question_type, q.question, q.options, q.ground_truth) for q in asked]


def records_of(index: int) -> list[Row]:
    """(scene, set and family, text, None, answer) of one room's records in ScanNet's layout."""
    room = make_room(scene_seed("train", 0, index)).at(0.0)
    notes = annotate(room, render(room, width=96, height=72, frames=24), "train")
    rows: list[Row] = []
    for row in notes["multi3drefer"]:
        number = "none" if not row["object_ids"] else "one" if len(row["object_ids"]) == 1 else "several"
        rows.append((index, "multi3drefer: none, one, several", row["description"], None, number))
    for row in notes["scanqa"]:
        family = " ".join(row["question"].split()[:3]).lower()
        family = family if family.startswith("what is") else " ".join(family.split()[:2])
        rows.append((index, f"scanqa: {family}", row["question"], None, row["answers"][0]))
    for question, note in notes["sqa3d"]:
        text = f"{question['situation']} {question['question']}"
        family = " ".join(question["question"].split()[:2]).lower()
        family += " behind" if question["question"].endswith("behind me?") else ""
        rows.append((index, f"sqa3d: {family}", text, None, note["answers"][0]["answer"]))
    return rows


def by_answer(train: list[Row], test: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Hits (N,) of the most frequent answer and of n-grams on the text."""
    answers = [row[4] for row in train]
    common = max(sorted(set(answers)), key=answers.count)
    wanted = np.array([row[4] for row in test])
    words = CountVectorizer(ngram_range=(1, 3), min_df=2)
    model = LogisticRegression(C=0.1, max_iter=300)
    model.fit(words.fit_transform([row[2] for row in train]), answers)
    return wanted == common, model.predict(words.transform([row[2] for row in test])) == wanted


def mra(predicted: float, truth: np.ndarray) -> np.ndarray:
    """(N,) mean relative accuracy of one number against many."""
    off = np.abs(predicted - truth) / truth
    return (off[:, None] <= 1 - THRESHOLDS).mean(axis=1)


def best_constant(truth: np.ndarray) -> float:
    """The number among the given ones with the best mean relative accuracy."""
    return float(max(np.unique(truth), key=lambda value: mra(value, truth).mean()))


def by_choice(train: list[Row], test: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Hits (N,) of the most frequent letter and of n-grams on (question, option)."""
    letters = [row[4] for row in train]
    common = max(sorted(set(letters)), key=letters.count)
    texts = [f"{q} || {o[3:]} || {o[3:].replace(' ', '_')}" for _, _, q, os, _ in train for o in os or ()]
    right = [o[0] == answer for _, _, _, os, answer in train for o in os or ()]
    words = CountVectorizer(ngram_range=(1, 3), min_df=2, token_pattern=r"\S+")
    model = LogisticRegression(C=0.1, max_iter=500).fit(words.fit_transform(texts), right)
    hits = []
    for _, _, q, options, answer in test:
        texts = [f"{q} || {o[3:]} || {o[3:].replace(' ', '_')}" for o in options or ()]
        scores = model.decision_function(words.transform(texts))
        hits.append((options or ())[int(np.argmax(scores))][0] == answer)
    return np.array([row[4] == common for row in test]), np.array(hits)


def by_number(train: list[Row], test: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Mean relative accuracy (N,) of the best constant, and of the best constant of a predicted range."""
    truth = np.array([float(row[4]) for row in train])
    wanted = np.array([float(row[4]) for row in test])
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, 7)[1:-1]))
    ranges = np.digitize(truth, edges)
    constants = {r: best_constant(truth[ranges == r]) for r in np.unique(ranges)}
    words = CountVectorizer(ngram_range=(1, 3), min_df=2)
    model = LogisticRegression(C=0.1, max_iter=500)
    model.fit(words.fit_transform([row[2] for row in train]), ranges)
    chances = model.predict_proba(words.transform([row[2] for row in test]))
    # Of all constants the one with the best accuracy expected under the predicted ranges.
    table = np.array(
        [[mra(c, truth[ranges == r]).mean() for r in model.classes_] for c in constants.values()]
    )
    table = np.vstack([table, [mra(best_constant(truth), truth[ranges == r]).mean() for r in model.classes_]])
    values = [*constants.values(), best_constant(truth)]
    picks = [values[i] for i in (chances @ table.T).argmax(axis=1)]
    text = np.array([mra(p, np.array([w]))[0] for p, w in zip(picks, wanted, strict=True)])
    return mra(best_constant(truth), wanted), text


def judge(rows: list[Row], score: Judge) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the two blind models over all rows, by folds of scenes."""
    frequency, text = [], []
    for fold in range(FOLDS):
        train = [row for row in rows if row[0] % FOLDS != fold]
        test = [row for row in rows if row[0] % FOLDS == fold]
        scores = score(train, test)
        frequency.append(scores[0])
        text.append(scores[1])
    return np.concatenate(frequency), np.concatenate(text)


def main() -> None:
    """Render, ask, fit, print one line a type."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=400, help="rooms (default: 400)")
    parser.add_argument("--workers", type=int, default=2, help="processes that render (default: 2)")
    parser.add_argument("--records", choices=("vsi", "scannet"), default="vsi", help="default: vsi")
    arguments = parser.parse_args()
    rows: dict[str, list[Row]] = defaultdict(list)
    ask = questions_of if arguments.records == "vsi" else records_of
    with ProcessPoolExecutor(arguments.workers) as pool:
        for asked in pool.map(ask, range(arguments.scenes), chunksize=8):
            for row in asked:
                rows[row[1]].append(row)
    print(f"{arguments.scenes} rooms, {FOLDS} folds, percent ± one standard error", file=sys.stderr)
    print("| type | text only | frequency | chance | n |\n|---|---|---|---|---|")
    for kind in QUESTION_TYPES if arguments.records == "vsi" else sorted(rows):
        if len(rows[kind]) >= FEWEST:
            report(kind, rows[kind])


def report(kind: str, rows: list[Row]) -> None:
    """Print the line of one type."""
    if kind in MULTIPLE_CHOICE:
        score, chance = by_choice, f"{100 * np.mean([1 / len(row[3] or 'x') for row in rows]):.1f}"
    elif kind in QUESTION_TYPES:
        score, chance = by_number, ""
    else:
        score, chance = by_answer, f"{100 / len(Counter(row[4] for row in rows)):.1f}"
    frequency, text = judge(rows, score)
    error = 100 * text.std() / np.sqrt(len(text))
    line = f"{100 * text.mean():.1f} ± {error:.1f} | {100 * frequency.mean():.1f} | {chance}"
    print(f"| {kind} | {line} | {len(text)} |", flush=True)


if __name__ == "__main__":
    main()
