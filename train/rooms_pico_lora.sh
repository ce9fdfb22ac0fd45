#!/usr/bin/env bash
# Does fine-tuning teach pico what its pre-training never showed it? Rooms of held-out styles, held-out types of
# questions: the host before, and after a LoRA run for each seed, with paired intervals over scenes.
# usage: train/rooms_pico_lora.sh [OUT] ["SEEDS"] [TRAIN_ROOMS] [TEST_ROOMS]
set -euo pipefail
export OMP_WAIT_POLICY=PASSIVE
out=${1:-out/rooms_lora} seeds=${2:-0 1 2} rooms=${3:-300} tested=${4:-180}
make() { vega3d rooms make --held-out --size 140 --workers 1 "$@" > /dev/null; }
ask() { vega3d eval run --tasks vsibench --data "$out/test" --frames 8 --send video --device cpu --quiet "$@"; }

make --split train --scenes "$rooms" --out "$out/train"
make --split test --scenes "$tested" --out "$out/test"
vega3d cache build "$out/features" "$out/train/conversations.jsonl" --backbone pico --set block=11 \
  --set pixels=16384 --precision float32 --nframes 8 --device cpu
ask pico --plain --out "$out/before"
for seed in $seeds; do
  vega3d train configs/train/rooms_pico_lora.yaml "data.0.file=$out/train/conversations.jsonl" \
    "store.path=$out/features" "trainer.output_dir=$out/run$seed" "trainer.seed=$seed"
  ask "$out/run$seed/final" --out "$out/after$seed"
done
for seed in $seeds; do
  echo "seed $seed:"
  vega3d eval compare "$out/before/vsibench" "$out/after$seed/vsibench"
done
