#!/usr/bin/env bash
# Claim 2: whether scores foretell which source is worth distilling from, and the verdict whether any is.
#
#   tests/claims/ranking.sh small|full WORK
#
# Goes on in the WORK of gains.sh, which leaves a student of every single source. See tasks.sh for sizes.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"

one() {
  local place on plan
  place=$work/few/${1%%=*}
  for on in features probs; do
    zoo score -C "$place" --metric parc --metric cka --metric rsa --on "$on" --quiet > /dev/null
  done
  plan=$(python3 -m tests.claims.choose "$place/search" plan single)
  students "$place" "$SEEDS" 1 "${plan%%:*}" single
}

abreast one $TARGETS
zoo evaluate ranking "$work/few" "$work/few/*/runs/cross-task-from-*" --out "$work/ranking.json" --format md |
  tee "$work/ranking.md"
python3 -m tests.claims.fits table "$work/few" | tee "$work/fits.md"
told
