"""Draw a room's frames, features, gate and contribution."""

import sys
from pathlib import Path

import vega3d
from vega3d.analysis.look import About, look_at, times_of, write_look
from vega3d.rooms import make_questions, make_room, render

out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/look")

# A held-out room with exact answers. Any other video file works too.
room = make_room(seed=200_000_123)
clip = render(room)
video = out / "room.mp4"
clip.save(video)
question = make_questions(room, clip)[0]

# "pico" ships with vega3d. For real videos:
# vega3d.load("Qwen/Qwen2.5-VL-3B-Instruct", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
assistant = vega3d.load("pico")
answer = assistant.ask(video, question.question)
print(f"{question.question}\n  answer: {answer.text}   truth: {question.ground_truth}")

seconds = times_of(video, answer.plan)
about = About(video.name, question.question, answer.text, "pico", seconds, assistant.trained)
for path in write_look(look_at(answer.encoding, answer.frames, answer.plan, about), out):
    print(path)
