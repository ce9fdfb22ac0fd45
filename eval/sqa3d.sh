#!/usr/bin/env bash
# SQA3D, balanced test: EM and EM-R, by the first word of the question.
# usage: eval/sqa3d.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check sqa3d --data "$data"
vega3d eval run "$model" --tasks sqa3d --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks sqa3d --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/sqa3d" "$out/ours/sqa3d"
