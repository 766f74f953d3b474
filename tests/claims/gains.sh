#!/usr/bin/env bash
# Claim 1: what distilling from many sources gains over labels only, and over weighing them blindly.
#
#   tests/claims/gains.sh small|full WORK
#
# Labels only, FixMatch, every single source (their mean is DistillRandomSelection), the nearest, equal and random
# weights, weights by PARC with p = 1, 6, 12, and the two inverses. See tasks.sh for sizes and what they may be set to.
source "$(dirname "${BASH_SOURCE[0]}")/tasks.sh"
methods=(labels-only fixmatch single nearest equal random p=1 p=6 p=12 inverse:form=reciprocal inverse:form=complement)

one() {
  workspace "$1" few
  final "$1" few "${methods[@]}"
}

experts
abreast one $TARGETS
python3 -m tests.claims.table "$work/few" | tee "$work/gains.md"
told
