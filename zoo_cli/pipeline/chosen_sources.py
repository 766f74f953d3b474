"""Names of runs and folders that are of some sources alone."""

import os
from collections.abc import Sequence

from zoo_cli.config import Source
from zoo_cli.store import provenance


def name_with_sources(name: str, sources: Sequence[Source], limit: int) -> str:
    """A name with those of its sources, sorted, or with a digest of them where it would have more bytes than `limit`.

    Two choices of sources then never share a folder.
    """
    names = sorted({source.name for source in sources})
    full = f"{name}-of-{'+'.join(names)}"
    if len(os.fsencode(full)) <= limit:
        return full
    return f"{name}-of-{provenance.fingerprint(names)[:8]}"
