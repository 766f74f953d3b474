#!/usr/bin/env bash
# Claim 2: do scores predict which source is worth distilling from, and does the verdict predict whether any is?
#
#   tests/claims/ranking.sh small|full WORK
#
# Uses the WORK of gains.sh, which has a student of every single source. See tasks.sh for the sizes.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"

evaluate_target() {
  local place on plan
  place=$work/few/${1%%=*}
  for on in features probs; do
    zoo score -C "$place" --metric parc --metric cka --metric rsa --on "$on" --quiet > /dev/null
  done
  plan=$(python3 -m tests.claims.settings "$place" single)
  train_students "$place" "$SEEDS" 1 "--steps $STEPS ${plan%%:*}" single
}

for_each evaluate_target $TARGETS
zoo evaluate ranking "$work/few" "$work/few/*/runs/cross-task-from-*" --out "$work/ranking.json" --format md |
  tee "$work/ranking.md"
{ zoo evaluate accuracy "$work/few" --by source --format md; cat "$work"/few/*/rank.md; } | tee "$work/fits.md"
report_time
