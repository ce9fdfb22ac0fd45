#!/usr/bin/env bash
# Demo: render a room to a video, answer three questions about it, and draw pictures. Then ask about an Ames pair:
# two rooms that differ between the sampled frames only. An answer that separates them comes through the branch.
set -euo pipefail
out=${1:-out/demo}
rm -rf "$out" && mkdir -p "$out"

vega3d rooms make --scenes 1 --seed 7 --workers 1 --out "$out" > "$out/made.txt"
video=$(head -n 1 "$out/made.txt")

python - "$video" <<'PYTHON'
import sys

import vega3d
from vega3d.rooms import make_chat_questions, make_room, render, rooms_source

video = sys.argv[1]
room = make_room(*rooms_source(video))
asked = {q.family: q for q in make_chat_questions(room, render(room), per_family=1)}
known = ("colour", "exists", "count", *asked)  # its card lists the first two as learned
chosen = [asked[family] for family in dict.fromkeys(known) if family in asked][:3]

assistant = vega3d.load("pico", log=lambda text: print(f"[vega3d] {text}", file=sys.stderr))
print(f"\nThree questions about {video}\n")
for question in chosen:
    answer = assistant.ask(video, question.question)
    print(f"  {question.question}\n    pico says {answer.text!r}, the truth is {question.answer!r}")
PYTHON

echo
vega3d look "$video" -o "$out/look" --quiet > "$out/look.txt"
seed=$(basename "$video" .mp4)
vega3d rooms show --seed "${seed#room_}" --out "$out/room" >> "$out/look.txt"
echo "The video:   $video"
echo "Questions:   $out/test.jsonl"
echo "Pictures:"
sed 's/^/  /' "$out/look.txt"

echo
echo "An Ames pair: two videos whose sampled frames are the same."
python "$(dirname "$0")/06_ames.py" "$out/ames" 2> "$out/ames.log" || { cat "$out/ames.log"; exit 1; }
