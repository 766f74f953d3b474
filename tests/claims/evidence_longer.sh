#!/usr/bin/env bash
# What longer training changes: labels only, FixMatch, p = 12 and heads from scratch with the settings of the first draw. And
# whether the cross-task term costs heads because it halves the share of the pool: heads with that term, and heads without
# it in which labels and pool have the shares that it leaves them, 0.2 to 0.4.
#
#   OMP_NUM_THREADS=1 tests/claims/evidence_longer.sh WORK [STEPS]
#
# After evidence.sh small WORK, whose searches have chosen the settings. STEPS: 600 by default. Workspaces of their own,
# WORK/longer/TARGET, whose outputs of sources are those of WORK/scratch. Finished runs are not repeated. JOBS: in parallel.
set -euo pipefail
work=$(realpath "${1:?the WORK of evidence.sh}") steps=${2:-600}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
read -ra domains <<< "$(python3 -m tests.claims.evidence_targets domains)"
trust=$(printf -- "--trust $work/experts/%s " "${domains[@]}")

train_longer() { # TARGET
  local place=$work/longer/$1 from=$work/scratch/$1 labels flags names common
  mkdir -p "$place"
  for part in zoo.toml classes.json manifest.parquet features pseudo labels; do
    [ -e "$place/$part" ] || cp -al "$from/$part" "$place"
  done
  rm -rf "$place"/labels/*/tune
  for labels in few-0 many-0; do
    common="-C $place --labels $labels --seed 0 --steps $steps --batch-size 64 --schedule cosine --quiet $trust"
    while IFS=: read -r flags names; do
      for name in $names; do
        case $name in
          labels-only) zoo distill --lam 1 $common $flags ;;
          fixmatch) zoo finetune student --objective fixmatch $common $flags ;;
          heads)
            zoo distill --objective heads $common $flags
            zoo distill --objective heads:cross_task=0.5 $common $flags
            zoo distill --objective heads $common $flags --lam 0.3333 --name "heads-third-$labels"
            ;;
          p=12) zoo distill --weighting p=12 $common $flags ;;
        esac > /dev/null
      done
    done < "$from/settings-$labels"
  done
}

export -f train_longer
export work steps trust
python3 -m tests.claims.evidence_targets targets | tr ' ' '\n' | xargs -P "${JOBS:-2}" -I TARGET bash -euo pipefail -c "train_longer TARGET"
mkdir -p "$work/tables"
zoo evaluate accuracy "$work/longer" --by method --across lr --across augment --across labels --quiet --format md \
  > "$work/tables/longer.md"
