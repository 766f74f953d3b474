#!/usr/bin/env bash
# Claim 1: what distilling from many sources gains over labels only, and over weights that ignore the scores.
#
#   tests/claims/gains.sh small|full WORK
#
# Labels only, FixMatch, every single source (their mean is DistillRandomSelection), the nearest, equal and random
# weights, weights by PARC with p = 1, 6, 12, and the two inverses. See tasks.sh for the sizes and their variables.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"
methods=(labels-only fixmatch single nearest equal random p=1 p=6 p=12 inverse:form=reciprocal inverse:form=complement)

evaluate_target() {
  make_workspace "$1" few
  train_final "$1" few "${methods[@]}"
}

train_experts
for_each evaluate_target $TARGETS
zoo evaluate accuracy "$work/few" --by method --format md | tee "$work/gains.md"
report_time
