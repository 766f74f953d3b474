#!/usr/bin/env bash
# From images and pretrained networks to a distilled student and its flips: a batch script to copy.
#
#   tests/e2e/pipeline.sh TRAIN.parquet TEST.parquet NETWORKS WORKSPACE NETWORK...
#
# NETWORKS is a folder with models.py and, for each NETWORK, its weights NETWORK.safetensors and a card NETWORK.json
# with its input_size, input_channels, mean and std. Environment variables set the rest:
#   NAME      name of the task                                   STUDENT   one of the networks, or torchvision:NAME
#   ALIASES   other names of its images, e.g. "imagenet"         SIZE      input size of a torchvision student
#   LABELLED  share of the training images with labels           STEPS, BATCH, LR, LAM, AUGMENT   of every student
#   SEEDS     one student of each kind per seed
set -euo pipefail
train=$(realpath "$1") test=$(realpath "$2") networks=$(realpath "$3") workspace=$4
shift 4
: "${NAME:=$(basename "$train" -train.parquet)}" "${ALIASES:=}" "${LABELLED:=10%}" "${SEEDS:=0}"
: "${STUDENT:=torchvision:mobilenet_v3_small}" "${SIZE:=64}" "${STEPS:=300}" "${BATCH:=64}"
: "${LR:=0.01}" "${LAM:=0.5}" "${AUGMENT:=crop}"

# Print the keys of a network's [[source]] or [student] table, from its card.
network() {
  python3 - "$networks" "$1" <<'PY'
import json, sys
folder, name = sys.argv[1:]
card = json.load(open(f"{folder}/{name}.json"))
print(f'''name = "{name}"
model = "python:{folder}/models.py:build"
args = {{ card = "{folder}/{name}.json" }}
weights = "{folder}/{name}.safetensors"
input_size = {card["input_size"]}
channels = {card["input_channels"]}
mean = {card["mean"]}
std = {card["std"]}
trained_on = ["{name.split("_")[0]}"]
''')
PY
}

mkdir -p "$workspace"
{
  echo "[task]"
  echo "name = \"$NAME\""
  echo "aliases = [$(printf '"%s",' $ALIASES | sed 's/"",//; s/,$//')]"
  echo "train = \"parquet:$train\""
  echo "test = \"parquet:$test\""
  echo "labelled = \"$LABELLED\""
  echo "[student]"
  case $STUDENT in
    *:*) printf 'model = "%s"\ninput_size = %s\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n' "$STUDENT" "$SIZE" ;;
    *) network "$STUDENT" ;;
  esac
  for name in "$@"; do
    echo "[[source]]"
    network "$name"
  done
} > "$workspace/zoo.toml"

export ZOO_WORKSPACE=$workspace
zoo split
zoo extract
zoo score
zoo rank --metric parc --format md
zoo pseudo-label
common=(--steps "$STEPS" --batch-size "$BATCH" --lr "$LR" --augment "$AUGMENT" --quiet)
for seed in $SEEDS; do
  zoo distill --lam 1 --seed "$seed" "${common[@]}"
  for weighting in equal nearest p=12; do
    zoo distill --weighting "$weighting" --lam "$LAM" --seed "$seed" "${common[@]}"
  done
done
zoo evaluate accuracy --format md
for seed in $SEEDS; do
  zoo evaluate flips "labels-only-s$seed" "cross-task-parc-p12-s$seed" --out "$workspace/flips-s$seed.json" --format md
done
