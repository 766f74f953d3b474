#!/usr/bin/env bash
# The pools of heads on the packs of the development material: their accuracy, and the estimates of it.
#
#   tests/claims/pools.sh WORK
#
# Writes a workspace for each pack, its features, the trials and accuracy.md, estimate.md, widening.md and components.md to WORK.
# Finished steps are not repeated. Needs `zoo` and `python3` with zoo_cli on the PATH, and the development material
# (ZOO_SHARED, see tests/shared_material.py). PLAN=1 prints the commands instead.
set -euo pipefail
work=$(realpath -m "${1:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${PLAN:=}"
run() { if [ -n "$PLAN" ]; then echo "$*"; else "$@"; fi; }
pools() { run python3 -m tests.claims.pools "$@"; }

for place in $(python3 -m tests.claims.pool_packs "$work"); do run zoo extract -C "$place" --quiet; done
pools run "$work"
for what in accuracy estimate widening components; do
  if [ -n "$PLAN" ]; then pools "$what" "$work"; else pools "$what" "$work" > "$work/$what.md"; fi
done
