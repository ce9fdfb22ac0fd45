#!/usr/bin/env bash
# Scan2Cap: the object at a point, described; three ways to gate and to wrap a caption.
# usage: eval/scan2cap.sh MODEL DATA OUT [further options of `vega3d eval run`]
set -euo pipefail
model=$1 data=$2 out=$3
shift 3

vega3d eval check scan2cap --data "$data"
vega3d eval run "$model" --tasks scan2cap/vega,scan2cap/leo,scan2cap/official --data "$data" --out "$out/ours" "$@"
vega3d eval run "$model" --tasks scan2cap/vega,scan2cap/leo,scan2cap/official --data "$data" --out "$out/plain" --plain "$@"
vega3d eval compare "$out/plain/scan2cap-vega" "$out/ours/scan2cap-vega"
