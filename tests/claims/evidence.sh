#!/usr/bin/env bash
# The evidence of protocol.md: eight targets drawn by a seed, ten sources each, two students, two numbers of labels.
#
#   OMP_NUM_THREADS=1 tests/claims/evidence.sh small|full WORK
#
# A cell is a draw of labels, a number of labels a class, a student and a target: a search of zoo tune over the settings of
# every method, then the final students. Cells run in the order of draws, so that whatever is finished
# has all targets. small: one draw. full: three draws, longer training, a wider search. Environment variables override a
# size: DRAWS, LABELS (few, many), STUDENTS (scratch, pretrained), STEPS (of every student), BUDGET (runs of a search),
# EXPERT_STEPS, TRANSFER_STEPS, TARGETS, JOBS (in parallel), UNTIL (HH:MM: no cell begins later). Needs `zoo` and `python3`
# with zoo_cli on the PATH, and the development material (ZOO_SHARED, see tests/shared_material.py). Finished steps are not repeated: an interrupted script resumes.
set -euo pipefail
size=${1:?small or full} work=$(realpath -m "${2:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $size in
  small) : "${DRAWS:=0}" "${STEPS:=150}" "${BUDGET:=24}" "${EXPERT_STEPS:=2000}" "${TRANSFER_STEPS:=60}" ;;
  full) : "${DRAWS:=0 1 2}" "${STEPS:=600}" "${BUDGET:=72}" "${EXPERT_STEPS:=8000}" "${TRANSFER_STEPS:=300}" ;;
  *) echo "$size is neither small nor full" >&2; exit 2 ;;
esac
: "${JOBS:=2}" "${UNTIL:=}" "${LABELS:=few many}" "${STUDENTS:=scratch pretrained}"
: "${TARGETS:=$(python3 -m tests.claims.evidence_targets targets)}"
searched=(labels-only fixmatch equal p=12 heads)
read -ra domains <<< "$(python3 -m tests.claims.evidence_targets domains)" # the first is that of the pretrained student
trust=$(printf -- "--trust $work/experts/%s " "${domains[@]}") # the student, and the source that is fine-tuned
common="--steps $STEPS --batch-size 64 --schedule cosine $trust"
network=$PWD/tests/claims/four_convolutions.py:build

# Run a function with the words of every line of stdin, JOBS in parallel; fails if one fails, after the others.
for_each() {
  local function=$1 line running=0 failed=0
  while read -r line; do
    [ -n "$UNTIL" ] && [ "$(date +%s)" -ge "$(date -d "$UNTIL" +%s)" ] && { echo "$UNTIL: stopped before $line"; break; }
    if ((running == JOBS)); then wait -n || failed=1; running=$((running - 1)); fi
    timed "$function" $line < /dev/null 3>&2 &
    running=$((running + 1))
  done
  while ((running)); do wait -n || failed=1; running=$((running - 1)); done
  return $failed
}

# Run a function and note its wall and processor time in seconds, a line each time. Ends the subshell at the first command that fails.
timed() {
  local TIMEFORMAT="%R %U %S" name
  name=$(tr ' ' - <<< "$*")
  trap "[ \$? = 0 ] || echo 'failed: $*; see $work/errors/$name' >&3" EXIT
  { time "$@" 2> "$work/errors/$name"; } 2>> "$work/time/$name"
}

train_expert() { # DOMAIN
  [ -e "$work/experts/$1/predictions.parquet" ] && return
  zoo expert $(python3 -m tests.claims.evidence_targets data "$1") -C "$work/experts" --model network --out "$work/experts/$1" \
    --steps "$EXPERT_STEPS" --batch-size 64 --lr 0.1 --warmup 50 --schedule cosine --augment crop --seed 0 --quiet > /dev/null
}

# The workspaces of a target. The outputs of the sources depend on neither student nor labels: linked into the second.
make_target() { # TARGET
  local place=$work/scratch/$1 student draw source
  for student in scratch pretrained; do
    place=$work/$student/$1
    mkdir -p "$place"
    python3 -m tests.claims.evidence_targets toml "$1" "$student" "$size" --experts "$work/experts" > "$place/zoo.toml"
    zoo split -C "$place" --quiet > /dev/null
    for draw in $DRAWS; do
      zoo split -C "$place" --labels "few-$draw" --labelled 5/class --seed "$draw" --quiet > /dev/null
      zoo split -C "$place" --labels "many-$draw" --labelled 20/class --seed "$draw" --quiet > /dev/null
    done
    if [ $student = pretrained ]; then
      for source in "$work/scratch/$1"/{features,pseudo}/source=[!@]*; do
        source=${source#"$work/scratch/$1/"}
        mkdir -p "$place/${source%/*}"
        [ -e "$place/$source" ] || cp -al "$work/scratch/$1/$source" "$place/$source"
      done
    fi
    zoo extract -C "$place" $trust --quiet > /dev/null
    zoo pseudo-label -C "$place" $trust --quiet > /dev/null
  done
}

# The search of a cell, and its final students. Methods that are not searched take the settings of one that is.
run_cell() { # DRAW LABELS STUDENT TARGET
  local place=$work/$3/$4 labels=$2-$1 flags names name
  declare -A chosen
  zoo tune -C "$place" --labels "$labels" --candidates "$work/candidates.toml" --budget "$BUDGET" $common --seed "$1" \
    $(python3 -m tests.claims.evidence_targets base "$size") --quiet --format md > "$place/tune-$labels.md"
  python3 -m tests.claims.settings "$place" --labels "$labels" "${searched[@]}" > "$place/settings-$labels"
  while IFS=: read -r flags names; do for name in $names; do chosen[$name]="$common $flags"; done; done < "$place/settings-$labels"
  flags="-C $place --labels $labels --seed $1 --quiet"
  zoo distill $flags --lam 1 ${chosen[labels-only]} > /dev/null
  zoo finetune student $flags --objective fixmatch ${chosen[fixmatch]} > /dev/null
  zoo distill $flags --objective heads ${chosen[heads]} > /dev/null
  zoo distill $flags --objective heads:cross_task=0.5 ${chosen[heads]} > /dev/null
  zoo distill $flags --objective heads --pool best ${chosen[heads]} > /dev/null
  zoo distill $flags --weighting equal --weighting inverse:form=complement --draws 1 ${chosen[equal]} > /dev/null
  zoo distill $flags --weighting p=12 --weighting p=1 --weighting p=6 --weighting nearest ${chosen[p=12]} > /dev/null
  if [ "$2 $3" = "few scratch" ]; then zoo distill $flags --each-source ${chosen[equal]} > /dev/null; fi
  zoo finetune "best:$network" $flags ${chosen[labels-only]} > /dev/null
}

# What the student of few labels learns from others of its task.
run_transfers() { # DRAW TARGET
  bash tests/claims/evidence_transfers.sh "$work" "$work/transfers" "$STEPS" "$TRANSFER_STEPS" "$@"
}

# Scores of the single sources' targets, of every metric of the claims.
score_target() { # DRAW TARGET
  local metric flags=""
  for metric in parc lfc cka rsa leep logme hscore knn sparsity domain-similarity; do flags+=" --metric $metric"; done
  zoo score -C "$work/scratch/$2" --labels "few-$1" $flags --quiet > /dev/null
}

list_cells() { # DRAW LABELS
  local student target
  for student in $STUDENTS; do for target in $TARGETS; do echo "$1 $2 $student $target"; done; done
}

mkdir -p "$work"/{experts,time,errors}
[ -e "$work/experts/zoo.toml" ] || python3 -m tests.claims.evidence_targets network > "$work/experts/zoo.toml"
python3 -m tests.claims.evidence_targets candidates "$size" > "$work/candidates.toml"
printf '%s\n' "${domains[@]}" | for_each train_expert
tr ' ' '\n' <<< "$TARGETS" | for_each make_target
for draw in $DRAWS; do
  for labels in $LABELS; do
    list_cells "$draw" "$labels" | for_each run_cell
    [[ $labels = few && $STUDENTS = *scratch* ]] || continue
    for target in $TARGETS; do echo "$draw $target"; done | for_each run_transfers
    for target in $TARGETS; do echo "$draw $target"; done | for_each score_target
  done
done
bash tests/claims/evidence_tables.sh "$work"
echo "$(basename "$0") $size: $SECONDS s, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
