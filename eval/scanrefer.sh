#!/usr/bin/env bash
# ScanRefer by text: a frame and a box as JSON; then the same box replaced by the nearest proposal.
# usage: eval/scanrefer.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check scanrefer --data "$data"
vega3d eval run "$model" --tasks scanrefer/textbox,scanrefer/textbox-refined --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks scanrefer/textbox,scanrefer/textbox-refined --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/scanrefer-textbox" "$out/ours/scanrefer-textbox"
