"""The accuracy in the card of a run: a block of README.md that evaluating the run fills in."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from zoo_cli import console
from zoo_cli.errors import ZooError
from zoo_cli.store import lease
from zoo_cli.store.checksums import RECORD, is_finished, read_sums, write_digests
from zoo_cli.store.commits import replacing

CARD = "README.md"
BEGIN, END = "<!-- accuracy -->", "<!-- /accuracy -->"
NOT_EVALUATED = "Not evaluated yet: {command} adds it here."
TABLE = """| test images | accuracy | 90 % interval |
|---:|---:|---:|
| {n:,} | {accuracy:.1%} | {low:.1%} to {high:.1%} |"""


def accuracy_block(text: str) -> str:
    """A text as the block of a card."""
    return f"{BEGIN}\n{text}\n{END}"


def add_accuracy(run: Path, n: int, accuracy: float, low: float, high: float) -> None:
    """Write the accuracy (0 to 1) of a run on its n test images, and its interval, into the card of its folder.

    A folder without a finished run, one that is being made again or cannot be written, and a card without such a block
    stay as they are. So does a card that differs from its digest in SHA256SUMS, with a warning: its change stays
    visible. The digest is written first: after a kill, the same call writes the card that it belongs to.
    """
    card = run / CARD
    if not (run / RECORD).is_file() or not is_finished(run) or lease.find_holder(run)[1]:
        return
    text = TABLE.format(n=n, accuracy=accuracy, low=low, high=high)
    # A folder that cannot be changed fails in many ways; the answer of the command does not depend on it.
    with suppress(OSError, UnicodeDecodeError):
        before = card.read_bytes()
        pattern = re.compile(f"{re.escape(BEGIN)}\n.*?\n{re.escape(END)}", re.DOTALL)
        after, blocks = pattern.subn(lambda _: accuracy_block(text), before.decode(), count=1)
        if not blocks:
            return
        try:
            _replace(card, before, after.encode())
        except ZooError as error:
            console.detail(f"{card} keeps its text: {error.message}")


def _replace(card: Path, before: bytes, after: bytes) -> None:
    """Write the card and its digest in SHA256SUMS, unless that lists neither the digest of before nor of after."""
    sums = read_sums(card.parent)
    listed, digest = sums.get(CARD), hashlib.sha256(after).hexdigest()
    if listed not in (None, digest, hashlib.sha256(before).hexdigest()):
        console.warn(f"{card} was changed after it was written, and its accuracy is not added")
        return
    if listed not in (None, digest):
        write_digests(card.parent, {**sums, CARD: digest})
    if after != before:
        with replacing(card) as temporary:
            temporary.write_bytes(after)
