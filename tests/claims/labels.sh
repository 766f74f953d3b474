#!/usr/bin/env bash
# Claim 3: is the gain over labels only larger with few labels than with four times as many?
#
#   tests/claims/labels.sh small|full WORK
#
# 5 % against 20 %; for the digits of the small size 5 against 20 per class, since 5 % leave nothing to gain. Uses the
# WORK of gains.sh, whose runs with few labels are kept. See tasks.sh for the sizes.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"
methods=(labels-only fixmatch nearest equal p=12)

evaluate_target() {
  local count
  for count in few many; do
    make_workspace "$1" "$count"
    train_final "$1" "$count" "${methods[@]}"
  done
}

train_experts
for_each evaluate_target $TARGETS
for count in few many; do zoo evaluate accuracy "$work/$count" --by method --format md; done | tee "$work/labels.md"
report_time
