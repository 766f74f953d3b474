"""What an artifact was made from: digests of its inputs, and whether an existing output is still current."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, parquet_files

Inputs = Mapping[str, Any]
"""What an artifact is made from, as its header holds it: names with digests or other values of JSON."""


class Stale(UsageError):
    """An output that was made from other inputs."""


def fingerprint(*parts: object) -> str:
    """A digest of JSON-able values: equal values, equal digest, on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint_columns(columns: Iterable[Iterable[Sequence[str]]]) -> str:
    """The `fingerprint` of a list of columns of strings, each in blocks of which one is in memory at a time."""
    digest = hashlib.sha256(b"[[")
    for number, blocks in enumerate(columns):
        digest.update(b",[" if number else b"[")
        before = ""
        for block in blocks:
            if block:
                text = json.dumps(block, separators=(",", ":"), ensure_ascii=True)
                digest.update(f"{before}{text[1:-1]}".encode())
                before = ","
        digest.update(b"]")
    digest.update(b"]]")
    return digest.hexdigest()[:32]


def differences(made_from: Inputs, inputs: Inputs) -> list[str]:
    """The differences between the inputs in a header and the requested ones, each as a short phrase."""
    phrases = []
    for key in sorted(set(made_from) | set(inputs)):
        before, now = made_from.get(key), inputs.get(key)
        if before != now or isinstance(before, bool) != isinstance(now, bool):  # 1 == True in Python
            short = all(len(str(value)) <= 40 and not _is_digest(value) for value in (before, now))
            phrases.append(f"{key} ({before} there, {now} requested)" if short else key)
    return phrases


def is_current(path: Path, inputs: Inputs, *, overwrite: bool, name: str | None = None, maker: str = "") -> bool:
    """Whether an existing parquet or JSON artifact was made from these inputs and need not be made again.

    False if it does not exist or will be overwritten. Raises Stale, naming what differs. `name`: what the message calls
    the artifact, by default its path.
    """
    if not path.exists() or overwrite:
        return False
    header = parquet_files.read_header(path) if path.suffix == ".parquet" else files.read_json(path)
    made_from = header.get("inputs", {}) if isinstance(header, dict) else {}
    changed = differences(made_from if isinstance(made_from, dict) else {}, inputs)
    if changed:
        raise stale_error(name or str(path), changed, maker)
    return True


def is_made_from(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a parquet artifact exists, is intact and was made from these inputs."""
    try:
        return path.exists() and parquet_files.read_header(path).get("inputs") == inputs
    except (ContractError, UsageError):
        return False


def stale_error(what: str, changed: Sequence[str], maker: str = "") -> Stale:
    """The error for an output that was made from other inputs. `maker`: the command that makes it.

    Without it, the hint is the --overwrite of the current command, which does not remake the outputs of others.
    """
    again = f"zoo {maker} --overwrite makes it again" if maker else "use --overwrite to make it again"
    return Stale(f"{what} was made from other inputs: {', '.join(changed)}", again)


def _is_digest(value: object) -> bool:
    text = str(value)
    return len(text) in (32, 64) and all(c in "0123456789abcdef" for c in text)
