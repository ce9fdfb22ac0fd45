#!/usr/bin/env bash
# Multi3DRefer by text: the official F1; the way to ask is ours, since none is published for text.
# usage: eval/multi3drefer.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check multi3drefer --data "$data"
vega3d eval run "$model" --tasks multi3drefer/official --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks multi3drefer/official --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/multi3drefer-official" "$out/ours/multi3drefer-official"
