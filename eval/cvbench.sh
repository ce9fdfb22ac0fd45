#!/usr/bin/env bash
# CV-Bench: single pictures, by letters.
# usage: eval/cvbench.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check cvbench --data "$data"
vega3d eval run "$model" --tasks cvbench --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks cvbench --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/cvbench" "$out/ours/cvbench"
