"""How often the rule of `zoo tune` chooses a candidate that is better by 10 points, and one that is not better.

    python -m tests.claims.tune_rule --draws 400

Simulated searches, see `tests/evaluate/simulated_search.py`; a row for each number of labels.
"""

import argparse

from tests.evaluate.simulated_search import simulate_search
from zoo_cli.evaluation.named_runs import LABELS_ONLY

LABELS = (60, 120, 240, 480)
GAIN = 0.1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=400)
    draws = range(parser.parse_args().draws)
    print("| labels | better one chosen | another chosen | without a better one, labels only kept | half an interval |")
    print("|---:|---:|---:|---:|---:|")
    for labels in LABELS:
        planted = [simulate_search(seed, {"c": GAIN}, labels=labels) for seed in draws]
        plain = [simulate_search(10**6 + seed, {}, labels=labels) for seed in draws]
        chosen = [result.chosen for result in planted]
        others = len(chosen) - chosen.count("c") - chosen.count(LABELS_ONLY)
        kept = sum(result.chosen == LABELS_ONLY for result in plain)
        reach = sum(result.gains["c"].reach for result in planted) / len(planted)
        shares = (chosen.count("c"), others, kept)
        cells = [f"{100 * share / len(draws):.0f} %" for share in shares]
        print(f"| {labels} | {' | '.join(cells)} | {100 * reach:.0f} |", flush=True)


if __name__ == "__main__":
    main()
