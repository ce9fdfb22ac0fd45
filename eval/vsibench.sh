#!/usr/bin/env bash
# VSI-Bench: our adapter, the host alone, and another clip's features; then what the branch was worth.
# usage: eval/vsibench.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check vsibench --data "$data"
vega3d eval run "$model" --tasks vsibench --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks vsibench --data "$data" --out "$out/plain" --plain "$@"
vega3d eval run "$model" --tasks vsibench --data "$data" --out "$out/swapped" --swap-features "$@"

vega3d eval compare "$out/plain/vsibench" "$out/ours/vsibench"
vega3d eval compare "$out/swapped/vsibench" "$out/ours/vsibench"
