#!/usr/bin/env bash
# Claim 3: whether the gain over labels only is larger with few labels than with four times as many.
#
#   tests/claims/labels.sh small|full WORK
#
# Goes on in the WORK of gains.sh, whose runs with few labels are taken as they are. See tasks.sh for sizes and what they
# may be set to: FEW and MANY are 5 % and 20 %, in the small size 5 and 20 a class.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"
methods=(labels-only fixmatch nearest equal p=12)

one() {
  local labelled
  for labelled in "$FEW" "$MANY"; do
    workspace "$1" "$labelled"
    final "$1" "$labelled" "${methods[@]}"
  done
}

experts
abreast one $TARGETS
python3 -m tests.claims.table --only labels-only,fixmatch,nearest,equal,p12 "$(folder "$FEW")" "$(folder "$MANY")" |
  tee "$work/labels.md"
told
