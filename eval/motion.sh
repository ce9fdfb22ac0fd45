#!/usr/bin/env bash
# Motion twins: our adapter, the host alone, and another room's features; then what the branch was worth.
# usage: eval/motion.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check motion --data "$data"
vega3d eval run "$model" --tasks motion --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks motion --data "$data" --out "$out/plain" --plain "$@"
vega3d eval run "$model" --tasks motion --data "$data" --out "$out/swapped" --swap-features "$@"

vega3d eval compare "$out/plain/motion" "$out/ours/motion"
vega3d eval compare "$out/swapped/motion" "$out/ours/motion"
