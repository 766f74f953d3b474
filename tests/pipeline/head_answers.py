"""A written pool of heads for tests of what reads it: mostly right answers in the task's classes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from zoo_cli import config
from zoo_cli.config import Config
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.store import parquet_files, schemas
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import Images, load_manifest

from .transfer_workspace import make

MAKER = f"{__name__}:keep_answers"
"""In place of the stage that makes the answers, `prepare.MAKERS["head-labels"]`."""
WEIGHTS = {"alpha": 0.75, "beta": 0.25}


def write_answers(
    workspace: Path, slug: str = "ridge-product-of-alpha+beta", *, right: float = 0.9, columns: int | None = None
) -> Path:
    """The folder of a pool that gives the true class the probability `right`. `columns`: in another number of classes.

    The digest of the pool depends on `right`.
    """
    settings = config.load(workspace)
    images = load_manifest(settings.manifest, settings.root)
    rows = images.where(split=("labelled", "unlabelled"))
    count = columns or len(load_class_names(settings.classes))
    probs = np.full((len(rows), count), (1 - right) / (count - 1))
    probs[np.arange(len(rows)), images.truth()[rows] % count] = right
    folder = settings.pseudo_head(slug)
    table = pa.table({"id": list(map(str, images.ids[rows])), "probs": to_list_column(probs.astype(np.float16))})
    parquet_files.write_table(folder / "part-00000-of-00001.parquet", table, schemas.PSEUDO, {"right": right})
    sources = [{"source": name, "weight": weight} for name, weight in WEIGHTS.items()]
    (folder / "_head.json").write_text(json.dumps({"sources": sources}), encoding="utf-8")
    return folder


@contextmanager
def workspace_with_answers(folder: Path) -> Iterator[Path]:
    """The workspace of `transfer_workspace` with a written pool, which no command makes again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prepare.MAKERS, "head-labels", MAKER)
        place = make(folder)
        write_answers(place)
        yield place


def keep_answers(_settings: Config, _images: Images, options: HeadLabelConfig, *, refresh: bool = False) -> None:
    """A maker that leaves what the test has written."""
    calls.append((options.slug, [source.name for source in options.sources], refresh))


calls: list[tuple[str, list[str], bool]] = []
"""What the maker was called with."""
