#!/usr/bin/env bash
# What longer training changes: labels only, FixMatch, p = 12 and heads with the settings that the searches of small chose,
# and transfers between students of the same task, half as long.
# And, for draw 0 from scratch, whether the cross-task term costs heads because it halves the share of the pool: heads with
# that term, and heads without it in which labels and pool have the shares that it leaves them, 0.2 to 0.4.
#
#   OMP_NUM_THREADS=1 tests/claims/evidence_longer.sh WORK [STEPS]
#
# After evidence.sh small WORK. STEPS: 600 by default. Workspaces of their own, WORK/longer/STUDENT/TARGET, whose outputs of
# sources are those of WORK/STUDENT. Finished runs are not repeated. DRAWS, LABELS, STUDENTS, TARGETS and JOBS (in
# parallel) as in evidence.sh.
set -euo pipefail
work=$(realpath "${1:?the WORK of evidence.sh}") steps=${2:-600}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${DRAWS:=0 1 2}" "${LABELS:=few many}" "${STUDENTS:=scratch pretrained}"
: "${TARGETS:=$(python3 -m tests.claims.evidence_targets targets)}"
read -ra domains <<< "$(python3 -m tests.claims.evidence_targets domains)"
trust=$(printf -- "--trust $work/experts/%s " "${domains[@]}")

train_longer() { # DRAW LABELS STUDENT TARGET
  local place=$work/longer/$3/$4 from=$work/$3/$4 labels=$2-$1 part flags names common
  mkdir -p "$place/labels"
  for part in zoo.toml classes.json manifest.parquet features pseudo "labels/$labels"; do
    [ -e "$place/$part" ] || cp -al "$from/$part" "$place/$part"
  done
  rm -rf "$place/labels/$labels/tune"
  common="-C $place --labels $labels --seed $1 --steps $steps --batch-size 64 --schedule cosine --quiet $trust"
  while IFS=: read -r flags names; do
    for name in $names; do
      case $name in
        labels-only) zoo distill --lam 1 $common $flags ;;
        fixmatch) zoo finetune student --objective fixmatch $common $flags ;;
        heads)
          zoo distill --objective heads $common $flags
          [ "$1 $3" = "0 scratch" ] || continue
          zoo distill --objective heads:cross_task=0.5 $common $flags
          zoo distill --objective heads $common $flags --lam 0.3333 --name "heads-third-$labels"
          ;;
        p=12) zoo distill --weighting p=12 $common $flags ;;
      esac > /dev/null
    done
  done < "$from/settings-$labels"
}

list_cells() {
  local draw student labels target
  for draw in $DRAWS; do
    for student in $STUDENTS; do
      for labels in $LABELS; do
        for target in $TARGETS; do echo "$draw $labels $student $target"; done
      done
    done
  done
}

export -f train_longer
export work steps trust
mkdir -p "$work/tables"
list_cells | xargs -P "${JOBS:-2}" -L 1 bash -euo pipefail -c 'train_longer "$@"' train_longer
if [[ $LABELS = *few* && $STUDENTS = *scratch* ]]; then
  for draw in $DRAWS; do for target in $TARGETS; do echo "$draw $target"; done; done |
    xargs -P "${JOBS:-2}" -L 1 bash tests/claims/evidence_transfers.sh "$work" "$work/longer/transfers" "$steps" $((steps / 2))
  zoo evaluate accuracy "$work/longer/transfers" --by method --across lr --across augment --across labels --across student \
    --baseline before-0 --quiet --format md > "$work/tables/longer-transfers.md"
fi
for student in $STUDENTS; do
  table=(zoo evaluate accuracy "$work/longer/$student" --by method --across lr --across augment --across labels --quiet --format md)
  "${table[@]}" > "$work/tables/longer-$student.md"
  for run in fixmatch-student cross-task-parc-p12; do
    "${table[@]}" --baseline "$run-s0-few-0" > "$work/tables/longer-$student-over-$run.md"
  done
done
