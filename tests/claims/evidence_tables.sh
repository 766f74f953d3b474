#!/usr/bin/env bash
# The tables of the evidence, of what is finished.
#
#   tests/claims/evidence_tables.sh WORK
#
# For each student the methods by targets, with gains over labels only, and again with gains over each of the methods that a
# claim compares others with; how well scores predict the students of single sources; the transfers.
set -euo pipefail
work=$(realpath "${1:?the WORK of evidence.sh}") tables=$(realpath "$1")/tables
mkdir -p "$tables"
across=(--across lr --across augment --across labels)
for student in scratch pretrained; do
  table=(zoo evaluate accuracy "$work/$student" --by method "${across[@]}" --quiet)
  "${table[@]}" --out "$tables/$student.json" --format md > "$tables/$student.md"
  for run in cross-task-parc-{equal,p1,p12,random-seed0} fixmatch-student heads-ridge-product; do
    "${table[@]}" --baseline "$run-s0-few-0" --format md > "$tables/$student-over-$run.md"
  done
done
for draw in "$work"/scratch/*/labels/few-*; do echo "${draw##*/}"; done | sort -u | while read -r labels; do
  zoo evaluate ranking "$work/scratch" "$work/scratch/*/runs/cross-task-from-*-$labels" --labels "$labels" --quiet \
    --out "$tables/ranking-$labels.json" --format md > "$tables/ranking-$labels.md"
done
zoo evaluate accuracy "$work/transfers" --by method "${across[@]}" --across student --baseline "before-0" --quiet \
  --out "$tables/transfers.json" --format md > "$tables/transfers.md"
