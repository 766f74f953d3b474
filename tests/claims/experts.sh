#!/usr/bin/env bash
# Paper 001's question: from which expert, or from which domain of an expert of several, should fine-tuning start?
#
#   tests/claims/experts.sh small|full WORK
#
# Trains experts of eight domains and three of all of them, then fine-tunes every source on every target, from 5 and from
# 20 labels a class. small: 12 sources, three targets. full: 32 sources, six targets, three seeds. Environment variables
# override a size: TARGETS (names), PER_DOMAIN (steps of an expert on each of its domains), STEPS (of a fine-tuning), RATES
# (learning rates tried on held-out labels), SEEDS, JOBS (in parallel). Needs `zoo` and `python3` with zoo_cli on the PATH,
# and the development material (ZOO_SHARED, see tests/shared_material.py). Finished units are not repeated: an interrupted
# script resumes.
set -euo pipefail
size=${1:?small or full} work=$(realpath -m "${2:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $size in
  small) : "${PER_DOMAIN:=1000}" "${STEPS:=200}" "${RATES:=0.05,0.01}" "${SEEDS:=0}" ;;
  full) : "${PER_DOMAIN:=4000}" "${STEPS:=600}" "${RATES:=0.1,0.05,0.01}" "${SEEDS:=0 1 2}" ;;
  *) echo "$size is neither small nor full" >&2; exit 2 ;;
esac
: "${JOBS:=2}" "${TARGETS:=$(python3 -m tests.claims.expert_targets targets "$size")}"
metrics=(lfc lgc leep domain-similarity parc cka logme hscore knn sparsity)
read -ra domains <<< "$(python3 -m tests.claims.expert_targets domains)"

# Run the commands of stdin, JOBS in parallel; fails if one fails, after the others.
run_all() { tr '\n' '\0' | xargs -0 -r -P "$JOBS" -I{} bash -c '{} || exit 1'; }

# The commands that train the experts: first the longest.
list_experts() {
  local place=$work/experts kind domain flags steps
  flags="-C $place --model network --batch-size 64 --lr 0.1 --warmup 50 --schedule cosine --augment crop --seed 0 --quiet"
  for kind in $(python3 -m tests.claims.expert_targets kinds); do
    steps=$((PER_DOMAIN * ${#domains[@]}))
    echo "zoo expert $(python3 -m tests.claims.expert_targets data "${domains[@]}" | tr '\n' ' ')" \
      "--multi $kind --steps $steps --out $place/$kind $flags"
  done
  for domain in "${domains[@]}"; do
    echo "zoo expert $(python3 -m tests.claims.expert_targets data "$domain") --steps $PER_DOMAIN --out $place/$domain $flags"
  done
}

# A target with its two label sets.
make_target() { # TARGET
  local place=$work/targets/$1 labels
  mkdir -p "$place"
  python3 -m tests.claims.expert_targets toml "$1" "$size" --experts "$work/experts" > "$place/zoo.toml"
  zoo split -C "$place" --quiet > /dev/null
  zoo split -C "$place" --labels few --labelled 5/class --quiet > /dev/null
  zoo split -C "$place" --labels many --labelled 20/class --quiet > /dev/null
  zoo extract -C "$place" --quiet > /dev/null
}

# All scores of a label set, and the heads, whose loss is a rival of the scores. rsa-ref compares with the student that its labels alone have trained.
score_target() { # TARGET LABELS
  local place=$work/targets/$1 student=$work/targets/$1/runs/finetune-student-s0-$2 metric flags
  zoo extract -C "$place" --gradients --labels "$2" --quiet > /dev/null
  zoo extract -C "$place" --source "file:$student" --quiet > /dev/null
  for metric in "${metrics[@]}"; do flags+=" --metric $metric"; done
  zoo score -C "$place" --labels "$2" $flags --quiet > /dev/null
  zoo pseudo-label -C "$place" --labels "$2" --head ridge --quiet > /dev/null
  zoo score -C "$place" --labels "$2" --metric rsa-ref --reference "$place/features/source=$(basename "$student")" \
    --quiet > /dev/null
}

mkdir -p "$work/experts"
python3 -m tests.claims.expert_targets network > "$work/experts/zoo.toml"
list_experts | run_all
zoo evaluate accuracy "$work"/experts/*/predictions.parquet "$work"/experts/*/domains/*/predictions.parquet --format md \
  > "$work/experts.md"
echo "experts: done after $SECONDS s"

for target in $TARGETS; do make_target "$target"; done
flags="--steps $STEPS --batch-size 32 --lr $RATES --schedule cosine --augment flip"
plan=($(printf "$work/targets/%s " $TARGETS) --stage "finetune student $flags" --stage "finetune $flags")
plan+=(--labels few --labels many $(printf -- "--seed %s " $SEEDS))
zoo plan "${plan[@]}" --format sh | run_all
echo "fine-tunings: done after $SECONDS s"

for target in $TARGETS; do
  for labels in few many; do score_target "$target" "$labels"; done
done
for labels in few many; do
  ranking=(zoo evaluate ranking "$work/targets" --labels "$labels" --format md)
  "${ranking[@]}" "$work/targets/*/runs/finetune-*-$labels" --reference tin-objects --out "$work/$labels.json" \
    > "$work/$labels.md"
  # The workspace tells what the source of that domain is called.
  "${ranking[@]}" "$work/targets/*/runs/finetune-multi-bn-*-$labels" -C "$work/targets/${TARGETS%% *}" \
    --reference "$work/experts/multi-bn#tin-objects" \
    --out "$work/$labels-domains.json" > "$work/$labels-domains.md"
done
zoo evaluate accuracy $(printf "$work/targets/%s " $TARGETS) --by source --format md > "$work/gains.md"
for target in $TARGETS; do zoo evaluate cost -C "$work/targets/$target" --labels few --metric lfc --format md; done > "$work/cost.md"
echo "$(basename "$0") $size: $SECONDS s, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
