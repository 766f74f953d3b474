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
  mkdir -p "$work/$pack"
  [ -e "$work/$pack/zoo.toml" ] ||
    { python3 -m tests.claims.verdict_packs "$pack" "$work/$pack" > "$work/$pack/new" && mv "$work/$pack/new" "$work/$pack/zoo.toml"; }
  zoo extract -C "$work/$pack" --quiet > /dev/null
done
