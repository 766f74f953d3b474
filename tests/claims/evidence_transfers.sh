#!/usr/bin/env bash
# What the student of few labels learns from others of its task: itself, a weaker and a stronger one, all trained with the
# settings of labels only. In a workspace of its own, FOLDER/TARGET, whose sources are these networks.
#
#   tests/claims/evidence_transfers.sh WORK FOLDER STEPS TRANSFER_STEPS DRAW TARGET
#
# After the cells of evidence.sh WORK, whose search has chosen the settings. Finished runs are not repeated.
set -euo pipefail
work=$(realpath "${1:?the WORK of evidence.sh}") steps=${3:?} transfer_steps=${4:?} draw=${5:?} target=${6:?}
mkdir -p "$2/$target"
place=$(realpath "$2/$target") few=few-$draw many=many-$draw
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python3 -m tests.claims.evidence_targets networks "$work/scratch/$target/zoo.toml" "$draw" > "$place/zoo.toml"
zoo split -C "$place" --quiet > /dev/null
zoo split -C "$place" --labels "$few" --labelled 5/class --seed "$draw" --quiet > /dev/null
zoo split -C "$place" --labels "$many" --labelled 20/class --seed "$draw" --quiet > /dev/null
settings=$(sed -n 's/:.*labels-only.*//p' "$work/scratch/$target/settings-$few")
flags="-C $place --seed $draw --batch-size 64 --quiet"
alone="$flags --lam 1 --schedule cosine $settings"
zoo distill $alone --labels "$few" --steps "$steps" --name "before-$draw" > /dev/null
zoo distill $alone --labels "$few" --steps $((steps / 5)) --name "weaker-$draw" > /dev/null
zoo distill $alone --labels "$many" --steps "$steps" --name "stronger-$draw" > /dev/null
flags+=" --labels $few --student file:$place/runs/before-$draw --steps $transfer_steps"
for recalibrate in "" --recalibrate; do
  zoo distill $flags --objective kl --source before --name "kl-self$recalibrate-$draw" $recalibrate > /dev/null
  for objective in kl xe-kl mcl dp; do
    for teacher in weaker stronger; do
      zoo distill $flags --objective $objective --source "$teacher" --name "$objective-$teacher$recalibrate-$draw" \
        $recalibrate > /dev/null
    done
  done
done
zoo distill $flags --objective dp --source weaker --source stronger --name "dp-both-$draw" > /dev/null
zoo distill $flags --objective dp:labels=false --source stronger --name "dp-unlabelled-$draw" > /dev/null
