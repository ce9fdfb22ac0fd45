#!/usr/bin/env bash
# The demo: a room is rendered to a video, three questions about it are answered, pictures are drawn.
set -euo pipefail
out=${1:-out/demo}
rm -rf "$out" && mkdir -p "$out"

vega3d rooms make --scenes 1 --seed 7 --out "$out" > "$out/made.txt"
video=$(head -n 1 "$out/made.txt")

python - "$video" "$out/test.jsonl" <<'PYTHON'
import json
import sys

from vega3d.assistant import Assistant
from vega3d.rooms import Question

video, records = sys.argv[1:]
asked = {}
for line in open(records, encoding="utf-8"):
    record = json.loads(line)
    options = tuple(record["options"]) if record["options"] else None
    asked.setdefault(record["question_type"], Question(**{**record, "options": options}))
order = ("object_counting", "obj_appearance_order", "room_size_estimation", *asked)
chosen = [asked[kind] for kind in dict.fromkeys(order) if kind in asked][:3]

assistant = Assistant.load("pico", say=lambda text: print(f"[vega3d] {text}", file=sys.stderr))
print(f"\nThree questions about {video}")
for question in chosen:
    answer = assistant.ask(video, question.prompt())
    print("", question.question, *(f"  {option}" for option in question.options or ()), sep="\n  ")
    print(f"  -> pico says {answer.text!r}, the truth is {question.ground_truth!r}")
PYTHON

echo
vega3d look "$video" -o "$out/look" --quiet > "$out/look.txt"
echo "The video:   $video"
echo "Questions:   $out/test.jsonl"
echo "Pictures:"
sed 's/^/  /' "$out/look.txt"
