"""The flags of each method's best settings in a search: a line per setting, flags, colon, its methods.

    python -m tests.claims.settings WORKSPACE fixmatch nearest p=12

Reads WORKSPACE/tune/tune.json, whose candidates `targets.py` names METHOD-NUMBER, or that of a label set, --labels. The
best setting of a method has the greatest gain over labels only on held-out labels. Methods in ALIKE are not searched.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.store import files

BASE = "labels-only"
ALIKE = {"single": "equal", "random": "equal"}
"""The methods that are not searched, and whose settings they take."""


def method_slug(spec: str) -> str:
    """The name of a method's candidates without their number: p12 for p=12."""
    return spec if spec in (BASE, "fixmatch") else specs.slug(spec)


def choose_settings(rows: Sequence[Mapping[str, Any]], method: str) -> Mapping[str, Any]:
    """The row of a method's best candidate; labels only itself, with which all are compared, has a gain of 0."""
    slug = method_slug(ALIKE.get(method, method))
    tried = [row for row in rows if row["candidate"].rpartition("-")[0] == slug or row["candidate"] == slug]
    if not tried:
        raise SystemExit(f"the search has no candidate of {method}")
    gains = {row["candidate"]: 0.0 if row["candidate"] == BASE else row["gain"] for row in tried}
    able = [row for row in tried if gains[row["candidate"]] is not None]
    if not able:
        raise SystemExit(f"no candidate of {method} could be trained")
    return max(able, key=lambda row: gains[row["candidate"]])


def plan_commands(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], base: Mapping[str, Any]
) -> dict[str, list[str]]:
    """The methods by the flags of their best settings: equal flags, one command. `base`: what labels only has."""
    plan: dict[str, list[str]] = defaultdict(list)
    for method in methods:
        chosen = choose_settings(rows, method)
        values = {key: base.get(key) if chosen[key] is None else chosen[key] for key in ("lr", "lam", "augment")}
        plan[" ".join(f"--{key} {value}" for key, value in values.items() if value is not None)].append(method)
    return plan


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("method", nargs="+")
    parser.add_argument("--labels", help="the label set of the search")
    arguments = parser.parse_intermixed_args()
    place = arguments.workspace if arguments.labels is None else arguments.workspace / "labels" / arguments.labels
    record = files.read_json(place / "tune" / "tune.json")
    for flags, names in plan_commands(record["rows"], arguments.method, record["inputs"]).items():
        print(f"{flags}:{' '.join(names)}")


if __name__ == "__main__":
    main()
