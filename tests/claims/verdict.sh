#!/usr/bin/env bash
# How often the verdict of `zoo rank` errs and how often it decides: simulated, and on real packs.
#
#   tests/claims/verdict.sh WORK [PACK...]
#
# Needs `zoo` and `python3` with zoo_cli on the PATH, and the development material (ZOO_SHARED).
set -euo pipefail
work=$(realpath -m "${1:?a folder to work in}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
shift
if (($# == 0)); then set -- $(python3 -c 'from tests.claims.verdict_packs import PACKS; print(*PACKS)'); fi
for pack; do
  place=$work/$pack
  mkdir -p "$place"
  if [ ! -e "$place/zoo.toml" ]; then
    python3 -m tests.claims.verdict_packs "$pack" "$place" > "$place/zoo.toml.new"
    mv "$place/zoo.toml.new" "$place/zoo.toml"
  fi
  zoo extract -C "$place" --quiet > /dev/null
done
few=(--size 15 --size 30 --size 60) many=(--size 120 --size 240)
measure() { python3 -m tests.claims.verdict "$@"; }
measure simulated --draws 40 "${few[@]}"
measure simulated --draws 15 "${many[@]}"
measure packs "$work" --draws 15 "${few[@]}"
measure packs "$work" --draws 5 "${many[@]}"
measure packs "$work" --draws 5 --plain "${few[@]}"
