"""Damage to every artifact: it is refused, or it changes no answer.

A sample by default; -m slow tries every damage to every artifact a few times, and prints the totals.
"""

import random
from collections import Counter

import pytest

from tests.faults.mutations import ARTIFACTS, LEASE, MUTATIONS, Fuzzer
from tests.marks import slow_unless

ROUNDS = 6


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("mutations"))


def try_damage(fuzzer: Fuzzer, pattern: str, mutation: str, draw: random.Random, first: bool) -> Counter[str]:
    """The outcomes of one damage, by kind; fails for one that is not noticed, or that is a bug."""
    outcomes: Counter[str] = Counter()
    damage = fuzzer.damage(pattern, mutation, draw)
    for command in ARTIFACTS[pattern][: 1 if first else None] if damage else ():
        assert damage is not None
        name, damaged = damage
        if command[0] == "show" and mutation == "other file":
            continue  # it shows that file
        outcome = fuzzer.read(name, damaged, command)
        outcomes[outcome.kind] += 1
        if outcome.kind not in ("detected", "harmless") and (outcome.kind, pattern) != ("failed", LEASE):
            print(f"{mutation} in {name}, read by {command}: {outcome}")
            outcomes["wrong"] += 1
    return outcomes


@pytest.mark.parametrize("number", slow_unless(range(12), range(len(MUTATIONS))))
def test_damage_is_refused_or_changes_no_answer(fuzzer: Fuzzer, number: int) -> None:
    draw = random.Random(number)
    pattern, mutation = draw.choice(list(ARTIFACTS)), list(MUTATIONS)[number % len(MUTATIONS)]
    assert try_damage(fuzzer, pattern, mutation, draw, first=True)["wrong"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ARTIFACTS)
def test_every_damage_to_an_artifact_is_refused_or_changes_no_answer(fuzzer: Fuzzer, pattern: str) -> None:
    totals: Counter[str] = Counter()
    for mutation in MUTATIONS:
        draw = random.Random(f"{pattern} {mutation}")
        for _ in range(ROUNDS):
            totals += try_damage(fuzzer, pattern, mutation, draw, first=False)
    print(f"\ndamage | {pattern} | {' | '.join(f'{kind} {count}' for kind, count in sorted(totals.items()))}")
    assert totals["wrong"] == 0
    assert totals["detected"] > 0


def test_every_artifact_is_there(fuzzer: Fuzzer) -> None:
    missing = [pattern for pattern in ARTIFACTS if not fuzzer.paths(pattern)]
    assert missing == []
