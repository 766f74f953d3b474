#!/usr/bin/env bash
# Claim 4: what a trained network learns from others of its own task, weaker, equal and stronger ones (paper 002).
#
#   tests/claims/transfer.sh small|full WORK
#
# The networks are the CIFAR-10 ones of the development material (ZOO_SHARED, else shared/ beside or in the repository)
# and a small one trained here for different lengths. Writes workspaces, the log of the search and report.md to WORK;
# finished runs are not repeated. Needs `zoo` on the PATH, and a python with the packages of zoo (PYTHON, by default
# python3). JOBS runs go in parallel, two by default. PLAN=1 prints the commands up to the search instead.
set -euo pipefail
size=$1 work=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
shared=${ZOO_SHARED:-$(for d in "$root/../shared" "$root/shared"; do [ -d "$d/weights" ] && echo "$d" && break; done)}
: "${JOBS:=2}" "${PYTHON:=python3}" "${PLAN:=}"
pretrained="resnet20 resnet32 resnet44 resnet56 mlperf_resnet8"
case $size in
  small)
    seeds=0 batch=64 steps=100 rates="0.0003 0.003 0.03" lengths="300 1000 2000"
    pairs="resnet20:resnet56 resnet20:mlperf_resnet8 resnet20:ours-2000
      ours-2000:mlperf_resnet8 ours-2000:ours-2000-s1 ours-2000:ours-1000 ours-1000:ours-2000"
    searched="resnet20:mlperf_resnet8 ours-2000:ours-2000-s1"
    again="resnet20:resnet56 ours-2000:ours-2000-s1"
    several="ours-2000:ours-2000-s1+mlperf_resnet8 resnet20:mlperf_resnet8+resnet56"
    ;;
  full)
    seeds="0 1 2" batch=64 steps="100 400" rates="0.0003 0.001 0.003 0.01 0.03" lengths="300 1000 2000 8000"
    # mlperf_resnet8 is only a teacher: it takes pixels of 0 to 255 and has no batch norms, so that SGD diverges.
    students="${pretrained% *} ours-300 ours-1000 ours-2000 ours-8000"
    pairs=$(for s in $students; do
      for t in $pretrained ours-300 ours-1000 ours-2000 ours-8000 ours-8000-s1; do [ "$s" = "$t" ] || echo "$s:$t"; done
    done)
    searched="resnet20:mlperf_resnet8 resnet32:ours-8000 resnet44:resnet56 resnet56:resnet20
      ours-8000:ours-8000-s1 ours-2000:ours-300 ours-1000:resnet32"
    again=$searched
    several=$(for s in $students; do
      for t in resnet20+resnet56 mlperf_resnet8+resnet44 ours-8000+resnet32; do
        case "+$t+" in *"+$s+"*) ;; *) echo "$s:$t" ;; esac
      done
    done)
    ;;
  *) echo "small or full, not $size" >&2 && exit 2 ;;
esac
# Each method, as named here and as typed. The control learns from labels alone: its teacher has no weight.
methods="kl=kl xe-kl=xe-kl mcl=mcl dp=dp dp-unlabelled=dp:labels=false"
labels="labels=xe-kl:alpha=0"

mkdir -p "$work"
work=$(cd "$work" && pwd)
claims() { PYTHONPATH=$root "$PYTHON" -m "tests.claims.$@"; }
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# Run the commands on stdin, one per line, JOBS in parallel. Runs that diverge are listed; any other failure ends it.
run_all() {
  if [ -n "$PLAN" ]; then cat; else xargs -d '\n' -P "$JOBS" -I{} bash -c 'run_one "$1"' _ {}; fi
}
run_one() {
  local errors
  errors=$(eval "$1 --quiet" 2>&1 > /dev/null) && return
  echo "$1: $errors" >&2
  case $errors in *"loss is not finite"*) echo "$1" >> "$DIVERGED" ;; *) exit 255 ;; esac
}
export -f run_one
export DIVERGED=$work/diverged.txt

# Print the commands of transfers: FOLDER STEPS LR|"" METHODS PAIRS [FLAGS]. Without LR each method has its chosen one.
list_transfers() {
  local folder=$1 n=$2 lr=$3 names=$4 flags=${6:-} pair method student teachers name sources rate
  for pair in $5; do
    student=${pair%%:*} teachers=${pair#*:}
    sources=$(printf -- ' --source %s' ${teachers//+/ })
    for method in $names; do
      name=$student--$teachers--${method%%=*}
      rate=$lr
      [ -n "$lr" ] && name=$name--$n--$lr || rate=$(chosen lr "$(searched_as "${method%%=*}")")
      echo "zoo distill -C '$folder' --student $student$sources --objective ${method#*=} --steps $n --lr $rate" \
        "--batch-size $batch --seed $seed --name '$name' $flags"
    done
  done
}

searched_as() { case $1 in dp-sequential | dp-parallel | dp-soup) echo dp ;; self) echo kl ;; *) echo "$1" ;; esac; }

chosen() { "$PYTHON" -c 'import functools, json, sys
print(functools.reduce(lambda value, key: value[key], sys.argv[2:], json.load(open(sys.argv[1]))))' "$drawing/chosen.json" "$@"; }

# The names of the runs of a workspace that match a pattern.
list_runs() { (cd "$1/runs" && for name in $2; do if [ -d "$name" ]; then echo "$name"; fi; done); }

# Evaluate the transfers of each student of a workspace, one command per student: FOLDER NAME
evaluate_transfers() {
  local student
  for student in $(list_runs "$1" '*--*' | sed 's/--.*//' | sort -u); do
    printf '\n## %s, on %s images\n\n' "$student" "$2"
    zoo evaluate transfer "$student" $(list_runs "$1" "$student--*") -C "$1" --quiet --format md
  done > "$1/$2.md"
}

started=$SECONDS
mkdir -p "$work/cards"
cat > "$work/cards/ours.json" <<'JSON'
{"name": "cifar10_resnet8", "input_size": 32, "input_channels": 3, "mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26]}
JSON
export MODELS=$shared/weights/models.py
known=() ours=()
for name in $pretrained; do known+=("$name=$shared/weights/cifar10_$name.json"); done
for n in $lengths; do ours+=("ours-$n=$work/ours/runs/ours-$n"); last=$n; done
ours+=("ours-$last-s1=$work/ours/runs/ours-$last-s1")

say "training a small network from scratch for $lengths steps, and once more with another seed"
claims transfer workspace "$work/ours" "ours=$work/cards/ours.json" "${known[@]}" \
  --train "$shared/data/cifar10-train.parquet" --test "$shared/data/cifar10-test.parquet"
[ -n "$PLAN" ] || zoo split -C "$work/ours" --quiet
for n in $lengths $last-s1; do
  case $n in *-s1) s=1 ;; *) s=0 ;; esac
  echo "zoo distill -C '$work/ours' --lam 1 --steps ${n%-s1} --lr 0.1 --warmup 50 --batch-size 64 --augment crop" \
    "--seed $s --name ours-$n"
done | tac | run_all

for seed in $seeds; do
  drawing=$work/drawing-$seed
  DIVERGED=$drawing/diverged.txt
  say "drawing $seed: $(claims transfer drawing "$drawing" "${known[@]}" "${ours[@]}" --data "$shared/data" --seed "$seed")"
  if [ -z "$PLAN" ]; then
    : > "$DIVERGED"
    for name in unseen seen known-unseen known-seen; do zoo split -C "$drawing/$name" --quiet; done
    claims held_out "$drawing/unseen" "$drawing/search" --share 0.25 >&2
  fi

  say "the search: every method, step count and rate on the same pairs, evaluated on held-out images"
  for n in $steps; do
    for lr in $rates; do
      list_transfers "$drawing/search" "$n" "$lr" "$methods" "$searched"
      list_transfers "$drawing/search" "$n" "$lr" "$labels" "$(for p in $searched; do echo "${p%%:*}:${p%%:*}"; done)"
    done
  done | run_all
  [ -n "$PLAN" ] && continue
  zoo evaluate accuracy -C "$drawing/search" --out "$drawing/search.json" --quiet > /dev/null
  zoo evaluate accuracy ${known[@]%%=*} ${ours[@]%%=*} -C "$drawing/search" --out "$drawing/before.json" --quiet > /dev/null
  claims transfer choose "$drawing/search.json" --diverged "$DIVERGED" --log "$drawing/search.tsv" --out "$drawing/chosen.json"
  n=$(chosen steps)
  say "chosen: $(tr -d '\n' < "$drawing/chosen.json")"

  say "the transfers, with $n steps each, on images that no network was trained on"
  {
    list_transfers "$drawing/unseen" "$n" "" "$methods" "$pairs"
    alone=$(for p in $pairs; do echo "${p%%:*}:${p%%:*}"; done | sort -u)
    list_transfers "$drawing/unseen" "$n" "" "$labels" "$alone"
    list_transfers "$drawing/unseen" "$n" "" "self=kl" "$alone"
    list_transfers "$drawing/seen" "$n" "" "$methods" "$again"
    for mode in sequential parallel soup; do
      # Equal steps per teacher: n for each in turn and for each student of the soup, 2n for two teachers at once.
      m=$n && [ $mode = parallel ] && m=$((2 * n))
      list_transfers "$drawing/unseen" "$m" "" "dp-$mode=dp" "$several" "--teachers $mode"
    done
  } | run_all

  say "evaluation on the test part, which is read here for the first time"
  evaluate_transfers "$drawing/unseen" unseen
  evaluate_transfers "$drawing/seen" seen
  for name in known-unseen known-seen; do
    printf '\n## %s images\n\n' "$name" > "$drawing/$name.md"
    zoo evaluate accuracy ${known[@]%%=*} ${ours[@]%%=*} -C "$drawing/$name" --quiet --format md >> "$drawing/$name.md"
  done
done
[ -n "$PLAN" ] && exit

say "complementary knowledge of every pair of networks"
printf '\n## What each knows that another does not\n\n' > "$work/ours/pairs.md"
zoo evaluate flips --all ${known[@]%%=*} $(list_runs "$work/ours" 'ours-*') -C "$work/ours" --quiet --format md \
  >> "$work/ours/pairs.md"
cat "$work"/drawing-*/{known-unseen,known-seen,unseen/unseen,seen/seen}.md "$work/ours/pairs.md" > "$work/report.md"
say "$((SECONDS - started)) s; $work/report.md"
