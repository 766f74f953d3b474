#!/usr/bin/env bash
# The tables of the evidence, of what is finished.
#
#   tests/claims/evidence_tables.sh WORK
set -euo pipefail
work=$(realpath "${1:?the WORK of evidence.sh}")
across=(--across lr --across augment --across labels)
for student in scratch pretrained; do
  zoo evaluate accuracy "$work/$student" --by method "${across[@]}" --out "$work/$student.json" --format md > "$work/$student.md"
done
