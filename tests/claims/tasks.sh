# Sourced by the scripts of claims 1 to 3: sizes, workspaces of targets with zoos of experts, the search, the students.
#
#   SCRIPT small|full WORK
#
# small: two targets, one seed. full: every target with a zoo of its kind, three seeds. Environment variables override a
# size: TARGETS (words NAME or NAME=FEW,MANY), FEW and MANY (labels), DRAW (seed of the labels), SEEDS (of students),
# STEPS (of every run), TRIALS (settings tried, from the grid of targets.py), BUDGET (runs of a search), BATCH, DRAWS (of
# random weights), EXPERT_STEPS, JOBS (in parallel). Needs `zoo` and `python3` with zoo_cli on the PATH, and the development material
# (ZOO_SHARED, see tests/shared_material.py). Finished steps are not repeated: an interrupted script resumes.
set -euo pipefail
size=${1:?small or full} work=$(realpath -m "${2:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $size in
  small)
    : "${TARGETS:=mnist=5/class,20/class cifar10-gray=5%,20%}" "${DRAW:=7}" "${SEEDS:=0}" "${STEPS:=1000}"
    : "${TRIALS:=3}" "${BUDGET:=80}" "${BATCH:=32}" "${EXPERT_STEPS:=2000}" ;;
  full)
    : "${TARGETS:=$(python3 -m tests.claims.targets all)}" "${DRAW:=0}" "${SEEDS:=0 1 2}" "${STEPS:=5000}"
    : "${TRIALS:=3}" "${BUDGET:=300}" "${BATCH:=64}" "${EXPERT_STEPS:=10000}" ;;
  *) echo "$size is neither small nor full" >&2; exit 2 ;;
esac
: "${FEW:=5%}" "${MANY:=20%}" "${DRAWS:=3}" "${JOBS:=2}"

# Run a function for every item, JOBS in parallel; fails if one fails.
for_each() {
  local function=$1 item running=0
  shift
  for item; do
    if ((running == JOBS)); then wait -n; running=$((running - 1)); fi
    "$function" "$item" &
    running=$((running + 1))
  done
  while ((running)); do wait -n; running=$((running - 1)); done
}

# The number of labels of a word of TARGETS, few or many.
label_count() {
  local few=$FEW many=$MANY
  if [[ $1 == *=* ]]; then IFS=, read -r few many <<< "${1#*=}"; fi
  echo "${!2}"
}

# Train the expert of a task on all its labels.
train_expert() {
  local place=$work/experts/$1 task=$work/experts/tasks/$1
  [ -e "$place/predictions.parquet" ] && return
  mkdir -p "$task"
  python3 -m tests.claims.targets toml "$1" > "$task/zoo.toml"
  zoo distill -C "$task" --lam 1 --steps "$EXPERT_STEPS" --batch-size 64 --lr 0.02 --warmup 50 --seed 0 \
    --augment "$(python3 -m tests.claims.targets augment "$1")" --out "$place" --quiet > /dev/null
}
train_experts() {
  local target names
  names=$(for target in $TARGETS; do python3 -m tests.claims.targets experts "${target%%=*}"; done | tr ' ' '\n' | sort -u)
  for_each train_expert $names
  zoo evaluate accuracy "$work"/experts/*/predictions.parquet --format md > "$work/experts.md"
}

# Make the workspace of a word of TARGETS, rank its sources and store their pseudo-labels.
make_workspace() { # TARGET few|many
  local target=${1%%=*} place=$work/$2/${1%%=*}
  mkdir -p "$place"
  python3 -m tests.claims.targets toml "$target" --experts "$work/experts" --labelled "$(label_count "$1" "$2")" \
    --seed "$DRAW" > "$place/zoo.toml"
  zoo split -C "$place" --quiet > /dev/null
  zoo extract -C "$place" --quiet > /dev/null
  zoo rank -C "$place" --metric parc --quiet --format md > "$place/rank.md"
  zoo pseudo-label -C "$place" --quiet > /dev/null
}

# Train the students of some methods in a workspace, those of one kind in one command.
train_students() { # WORKSPACE SEEDS DRAWS "FLAGS" METHOD...
  local place=$1 seed seeds=() flags=() weightings=() method
  for seed in $2; do seeds+=(--seed "$seed"); done
  flags=(-C "$place" $4 --batch-size "$BATCH" --schedule cosine "${seeds[@]}" --quiet)
  for method in "${@:5}"; do
    case $method in
      labels-only) zoo distill "${flags[@]}" --lam 1 > /dev/null ;;
      fixmatch) zoo finetune student --objective fixmatch "${flags[@]}" > /dev/null ;;
      single) zoo distill --each-source "${flags[@]}" > /dev/null ;;
      random) weightings+=(--draws "$3") ;;
      *) weightings+=(--weighting "$method") ;;
    esac
  done
  if ((${#weightings[@]})); then zoo distill "${weightings[@]}" "${flags[@]}" > /dev/null; fi
}

# Search on held-out labels: equally many settings of every method. A finished search is kept: labels.sh asks for fewer
# methods than gains.sh.
search() { # TARGET PLACE METHOD...
  [ -e "$2/tune/tune.json" ] && return
  python3 -m tests.claims.targets candidates "$1" --trials "$TRIALS" "${@:3}" > "$2/candidates.toml"
  zoo tune -C "$2" --candidates "$2/candidates.toml" --budget "$BUDGET" --steps "$STEPS" --batch-size "$BATCH" \
    --schedule cosine --seed 0 $(python3 -m tests.claims.targets base "$1") --quiet --format md > "$2/tune.md"
}

# Search, then train the final students of every method with its choice: only these predict the test images, once.
train_final() { # TARGET few|many METHOD...
  local target=${1%%=*} place=$work/$2/${1%%=*} flags names
  search "$target" "$place" "${@:3}"
  python3 -m tests.claims.settings "$place" "${@:3}" > "$place/plan"
  while IFS=: read -r flags names; do
    train_students "$place" "$SEEDS" "$DRAWS" "--steps $STEPS $flags" $names
  done < "$place/plan"
  echo "$target, $(label_count "$1" "$2"): done after $SECONDS s"
}

report_time() { echo "$(basename "$0") $size: $SECONDS s, load $(cut -d ' ' -f 1-3 /proc/loadavg)"; }
