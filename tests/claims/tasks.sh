# Sourced by the scripts of claims 1 to 3: sizes, workspaces of targets with zoos of experts, the search, the students.
#
#   SCRIPT small|full WORK
#
# small: two targets, one seed. full: every target with a zoo of its kind, three seeds. Environment variables override a
# size: TARGETS (words NAME or NAME=FEW,MANY), FEW and MANY (labels), DRAW (seed of the labels), SEEDS (of students),
# LENGTHS (steps tried), TRIALS (settings tried, from the grid of targets.py), BATCH, DRAWS (of random weights),
# EXPERT_STEPS, JOBS (in parallel). Needs `zoo` and `python3` with zoo_cli on the PATH, and the development material
# (ZOO_SHARED, see tests/shared_material.py). Finished steps are not repeated: an interrupted script resumes.
set -euo pipefail
size=${1:?small or full} work=$(realpath -m "${2:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case $size in
  small)
    : "${TARGETS:=mnist=5/class,20/class cifar10-gray=5%,20%}" "${DRAW:=7}" "${SEEDS:=0}" "${LENGTHS:=500 1000}"
    : "${TRIALS:=3}" "${BATCH:=32}" "${EXPERT_STEPS:=2000}" ;;
  full)
    : "${TARGETS:=$(python3 -m tests.claims.targets all)}" "${DRAW:=0}" "${SEEDS:=0 1 2}" "${LENGTHS:=2500 5000}"
    : "${TRIALS:=6}" "${BATCH:=64}" "${EXPERT_STEPS:=10000}" ;;
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

# Rank the sources of a workspace and store their pseudo-labels; the expert of its own task must be excluded.
rank_sources() {
  zoo extract -C "$1" --quiet > /dev/null
  zoo rank -C "$1" --metric parc --quiet --json > "$1/rank.json"
  python3 -m tests.claims.fits check "$1"
  zoo pseudo-label -C "$1" --quiet > /dev/null
}

# Make the workspace of a word of TARGETS and, in its search/, the one with held-out labelled images.
make_workspace() { # TARGET few|many
  local target=${1%%=*} place=$work/$2/${1%%=*}
  local toml=(python3 -m tests.claims.targets toml "$target" --experts "$work/experts")
  toml+=(--labelled "$(label_count "$1" "$2")" --seed "$DRAW")
  mkdir -p "$place/search"
  "${toml[@]}" > "$place/zoo.toml"
  "${toml[@]}" --without-images > "$place/search/zoo.toml"
  zoo split -C "$place" --quiet > /dev/null
  [ -e "$place/search/manifest.parquet" ] || python3 -m tests.claims.held_out "$place" "$place/search"
  rank_sources "$place"
  rank_sources "$place/search"
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

# Train one setting of the search for every method; its runs go to tried/.
try_setting() { # SEARCH STEPS LR:LAM:AUGMENT:LR:AUGMENT METHOD...
  local lr lam augment only_lr only_augment others=() method
  IFS=: read -r lr lam augment only_lr only_augment <<< "$3"
  for method in "${@:4}"; do [ "$method" = labels-only ] || others+=("$method"); done
  mkdir -p "$1/tried/$2:$3"
  ln -sfn "tried/$2:$3" "$1/runs"
  train_students "$1" 0 1 "--steps $2 --lr $only_lr --augment $only_augment" labels-only
  train_students "$1" 0 1 "--steps $2 --lr $lr --lam $lam --augment $augment" "${others[@]}"
}

# First the length for all methods, then the rest of the grid at that length: equally many settings of every method.
search() { # TARGET SEARCH METHOD...
  local steps grid
  grid=($(python3 -m tests.claims.targets grid "$1"))
  for steps in $LENGTHS; do try_setting "$2" "$steps" "${grid[0]}" "${@:3}"; done
  steps=$(python3 -m tests.claims.choose "$2" length)
  for setting in "${grid[@]:1:TRIALS-1}"; do try_setting "$2" "$steps" "$setting" "${@:3}"; done
  python3 -m tests.claims.choose "$2" log > "$2/log.md"
}

# Search, then train the final students of every method with its choice: only these predict the test images, once.
train_final() { # TARGET few|many METHOD...
  local target=${1%%=*} place=$work/$2/${1%%=*} flags names
  search "$target" "$place/search" "${@:3}"
  python3 -m tests.claims.choose "$place/search" plan "${@:3}" > "$place/search/plan"
  while IFS=: read -r flags names; do
    train_students "$place" "$SEEDS" "$DRAWS" "$flags" $names
  done < "$place/search/plan"
  echo "$target, $(label_count "$1" "$2"): $(head -1 "$place/search/log.md"), done after $SECONDS s"
}

report_time() { echo "$(basename "$0") $size: $SECONDS s, load $(cut -d ' ' -f 1-3 /proc/loadavg)"; }
