"""The seventeen data packs of the development material open with the rows and classes that their list gives."""

import re

import pyarrow.parquet as pq
import pytest

from tests.shared_material import SHARED
from zoo_cli.data.samples import open_data
from zoo_cli.images.decoding import decode

pytestmark = pytest.mark.skipif(SHARED is None, reason="needs the development material")


def listed_packs() -> list[tuple[str, int, int, int]]:
    if SHARED is None:
        return []
    text = (SHARED / "data/README.md").read_text().partition("Total")[0]
    matches = re.findall(r"^\| ([\w-]+) \| [^|]+ \| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    return [(name, int(classes), int(train), int(test)) for name, classes, train, test in matches]


def test_there_are_seventeen_packs() -> None:
    assert len(listed_packs()) == 17


@pytest.mark.parametrize(("name", "classes", "train", "test"), listed_packs())
def test_a_pack_has_its_rows_and_classes(name: str, classes: int, train: int, test: int) -> None:
    assert SHARED is not None
    folder = SHARED / "data"
    ids: list[str] = []
    for part, count in (("train", train), ("test", test)):
        data = open_data(f"parquet:{name}-{part}.parquet", folder)
        assert data.classes is not None
        assert len(data.classes) == classes
        assert data.own_ids
        table = pq.read_table(folder / f"{name}-{part}.parquet", columns=["id", "label"])
        assert table.num_rows == count
        assert set(table.column("label").to_pylist()) <= set(range(classes))
        ids += table.column("id").to_pylist()
    assert len(set(ids)) == len(ids)


def test_every_image_of_a_pack_decodes() -> None:
    assert SHARED is not None
    data = open_data("parquet:omniglot-small1-test.parquet", SHARED / "data")
    sizes = {decode(sample.source(SHARED)).size for sample in data.samples()}
    assert sizes == {(105, 105)}
