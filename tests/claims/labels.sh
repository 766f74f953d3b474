#!/usr/bin/env bash
# Claim 3: whether the gain over labels only is larger with few labels than with four times as many.
#
#   tests/claims/labels.sh small|full WORK
#
# 5 % against 20 %; in the small size 5 against 20 a class of the digits, on which 5 % leave nothing to gain. Goes on in
# the WORK of gains.sh, whose runs with few labels are taken as they are. See tasks.sh for sizes.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"
methods=(labels-only fixmatch nearest equal p=12)

one() {
  local count
  for count in few many; do
    workspace "$1" "$count"
    final "$1" "$count" "${methods[@]}"
  done
}

experts
abreast one $TARGETS
python3 -m tests.claims.table --only labels-only,fixmatch,nearest,equal,p12 "$work/few" "$work/many" |
  tee "$work/labels.md"
told
