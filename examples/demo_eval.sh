#!/usr/bin/env bash
# Evaluation demo: rooms in the layout of every benchmark, answers of the shipped models, and reports.
# The models answer few of the questions; the demo shows the chain. usage: examples/demo_eval.sh [OUT]
set -euo pipefail
out=${1:-out/demo-eval}
data=$out/data runs=$out/runs
tasks=vsibench,scanqa/leo,sqa3d,scanrefer/textbox,scanrefer/textbox-refined
tasks=$tasks,multi3drefer/official,scan2cap/vega,threedod,cvbench,blink_spatial
rm -rf "$runs"
mkdir -p "$data"

vega3d rooms make --scenes 3 --size 128 --frames 16 --per-type 1 --workers 1 --out "$data" > "$out/made.txt"
vega3d rooms export --layout scannet --split val --scenes 2 --width 160 --height 120 --frames 6 --workers 1 \
  --out "$data" >> "$out/made.txt"
vega3d rooms export --layout pictures --scenes 6 --width 128 --out "$data" >> "$out/made.txt"

ask() { vega3d eval run pico --data "$data" --frames 4 --limit 12 --device cpu --quiet "$@"; }
ask --tasks "$tasks" --out "$runs/ours"
ask --tasks vsibench --out "$runs/plain" --plain
ask --tasks vsibench --out "$runs/swapped" --swap-features

echo
echo "Gain of the branch over the host alone, and loss with another clip's features (pico's fusion is untrained: 0):"
vega3d eval compare "$runs/plain/vsibench" "$runs/ours/vsibench"
vega3d eval compare "$runs/swapped/vsibench" "$runs/ours/vsibench"
echo
echo "One page for all tasks: $(vega3d eval report "$runs/ours" | tail -n 1)"
