#!/usr/bin/env bash
# ScanQA, validation: one set of answers by three rules, which do not compare (docs/evaluation.md).
# usage: eval/scanqa.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check scanqa --data "$data"
vega3d eval run "$model" --tasks scanqa/vega,scanqa/official,scanqa/leo --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks scanqa/vega,scanqa/official,scanqa/leo --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/scanqa-vega" "$out/ours/scanqa-vega"
