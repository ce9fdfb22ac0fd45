#!/usr/bin/env bash
# VG-LLM's 3-D detection in a few frames: boxes as JSON lines.
# usage: eval/threedod.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check threedod --data "$data"
vega3d eval run "$model" --tasks threedod --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks threedod --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/threedod" "$out/ours/threedod"
