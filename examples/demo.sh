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

video, records = sys.argv[1:]
questions = [json.loads(line) for line in open(records, encoding="utf-8")]
assistant = Assistant.load("pico", say=lambda text: print(f"[vega3d] {text}", file=sys.stderr))
print(f"\nThree questions about {video}\n")
wanted = ("object_counting", "object_rel_distance", "room_size_estimation")
for kind in wanted:
    record = next((q for q in questions if q["question_type"] == kind), None)
    if record is None:
        continue
    text = "\n".join([record["question"], *(["Options:", *record["options"]] if record["options"] else [])])
    answer = assistant.ask(video, text)
    print(f"  {record['question']} {record['options'] or ''}\n    answer {answer.text}, truth {record['ground_truth']}")
PYTHON

echo
vega3d look "$video" -o "$out/look" --quiet > "$out/look.txt"
echo "The video:   $video"
echo "Questions:   $out/test.jsonl"
echo "Pictures:"
sed 's/^/  /' "$out/look.txt"
