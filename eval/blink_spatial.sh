#!/usr/bin/env bash
# BLINK's three spatial sub-tasks: one or two pictures, by letters.
# usage: eval/blink_spatial.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check blink_spatial --data "$data"
vega3d eval run "$model" --tasks blink_spatial --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks blink_spatial --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/blink_spatial" "$out/ours/blink_spatial"
