"""Parquet data behind a URI: the files of the same data here, one line where it cannot be read, finished parts kept."""

import io
import shutil
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.test_bytes import contents
from tests.pipeline.test_parquet_images import KIND, make
from tests.workspaces import edit, run
from zoo_cli import spec_paths
from zoo_cli.data.samples import find_remote
from zoo_cli.store import feature_store, parquet_images
from zoo_cli.store.remote_files import RemoteFile, match_uris


def move(place: Path, store: Path) -> str:
    """Move the data of a workspace to a store elsewhere, in two files of one name; their pattern as a URI."""
    table = pq.read_table(place / "data.parquet")
    for name, rows in (("a b", table.slice(0, 20)), ("c", table.slice(20))):
        (store / name).mkdir(parents=True)
        pq.write_table(rows, store / name / "data.parquet", row_group_size=7)
    (place / "data.parquet").unlink()
    return f"file://{quote(str(store))}/*/data.parquet"


def test_outputs_are_those_of_local_files(tmp_path: Path) -> None:
    here, remote = make(tmp_path / "here"), make(tmp_path / "remote")
    uri = move(remote, tmp_path / "a store")
    shutil.copytree(tmp_path / "a store", here / "store")
    edit(here, "parquet:data.parquet", "parquet:store/*/data.parquet")
    edit(remote, "parquet:data.parquet", f"parquet:{uri}?label=label")
    for place in (here, remote):
        for command in ("split", "extract", "score"):
            result = run(command, workspace=place)
            assert result.code == 0, result.err
    manifests = [pq.read_table(place / "manifest.parquet") for place in (here, remote)]
    assert manifests[0].drop_columns("file") == manifests[1].drop_columns("file")
    assert set(manifests[1].column("file").to_pylist()) == {str(file) for file in match_uris(uri)}
    assert contents(here / "features") == contents(remote / "features")
    assert contents(here / "scores") == contents(remote / "scores")
    pq.write_table(pq.read_table(tmp_path / "a store/c/data.parquet").slice(1), tmp_path / "a store/c/data.parquet")
    result = run("split", workspace=remote)
    assert (result.code, "was made from other inputs" in result.error) == (2, True)


class Breaking(io.BytesIO):
    """A file whose connection breaks after some reads."""

    left = 10**6

    def read(self, size: int | None = -1) -> bytes:
        type(self).left -= 1
        if self.left < 0:
            raise OSError("When reading information for key: AWS Error NETWORK_CONNECTION\nduring GetObject")
        return super().read(size)


def test_a_connection_that_breaks_off_keeps_finished_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 7)
    monkeypatch.setattr(parquet_images, "CACHE_BYTES", 0)
    alone, remote = make(tmp_path / "alone"), make(tmp_path / "remote")
    edit(remote, "parquet:data.parquet", f"parquet:file://{remote}/data.parquet")
    for command in ("split", "extract"):
        assert run(command, workspace=alone).code == 0
    monkeypatch.setattr(
        RemoteFile, "open", lambda self: pa.PythonFile(Breaking(Path(self.path).read_bytes()), mode="r")
    )
    assert run("split", workspace=remote).code == 0
    Breaking.left = 12
    result = run("extract", "--workers", "0", workspace=remote)
    assert result.code == 1
    reason = "When reading information for key: AWS Error NETWORK_CONNECTION"
    assert result.error == (
        f"file://{remote}/data.parquet cannot be read: {reason}; check the connection and the permission; what is "
        "finished is kept, and the same command goes on"
    )
    parts = list((remote / "features").rglob("part-*.parquet"))
    assert 0 < len(parts) < 24
    Breaking.left = 0
    assert run("split", "--overwrite", workspace=remote).code == 1
    Breaking.left = 10**6
    assert run("extract", workspace=remote).code == 0
    assert contents(remote / "features") == contents(alone / "features")
    (remote / "data.parquet").unlink()
    result = run("extract", "--overwrite", workspace=remote)
    assert (result.code, "data.parquet is gone since zoo split; put it back" in result.error) == (3, True)


def test_patterns_match_as_those_of_paths(tmp_path: Path) -> None:
    names = ("1.parquet", "a/2.parquet", "a/b/3.parquet", "a/b/.4.parquet", "a [x]/5%20.parquet", "a/6.csv")
    for name in names:
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).touch()
    root = f"file://{tmp_path}/s"

    def match(pattern: str) -> list[str]:
        return [str(file.path.relative_to(tmp_path / "s")) for file in match_uris(f"{root}/{pattern}")]

    assert match("*.parquet") == ["1.parquet"]
    assert match("**/*.parquet") == ["1.parquet", "a [x]/5%20.parquet", "a/2.parquet", "a/b/3.parquet"]
    assert match("a/*/*.parquet") == ["a/b/3.parquet"]
    assert match("a/[0-9].*") == ["a/2.parquet", "a/6.csv"]
    assert match(quote("a") + "/2.parquet") == ["a/2.parquet"]
    assert match("missing.parquet") == match("missing/*.parquet") == []
    assert match_uris(f"{root}/a%20%5Bx%5D/5%2520.parquet")[0].uri == f"{root}/a%20%5Bx%5D/5%2520.parquet"


def test_options_of_the_file_system_stay_in_the_uri(tmp_path: Path) -> None:
    spec = "parquet:s3://b/x*.parquet?endpoint_override=host&label=kind"
    assert find_remote(spec, tmp_path) == "s3://b/x*.parquet?endpoint_override=host"
    assert find_remote("parquet:x.parquet", tmp_path) is None
    assert spec_paths.rebase_spec(spec, tmp_path, Path("elsewhere")) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("parquet:nosuch://b/x.parquet", "nosuch://b/ cannot be opened: "),
        ("parquet:s3://key:secret@bucket/x.parquet", "the URI of bucket holds a password, which the manifest would"),
        ("parquet:file:///no/such/x.parquet", "no file matches parquet:file:///no/such/x.parquet"),
        ("parquet:file:///no/such/*.parquet", "no file matches parquet:file:///no/such/*.parquet"),
        ("folder:s3://bucket/images", "folder:s3://bucket/images: only parquet data can be behind a URI"),
        ("parquet:file://[x/y.parquet", "file://[x/y.parquet is not a URI"),
    ],
)
def test_another_uri_is_one_line(spec: str, message: str, tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    edit(place, "parquet:data.parquet", spec)
    result = run("split", workspace=place)
    assert result.code == 2
    assert result.error.startswith(message)
    assert "secret" not in result.err


def test_images_beside_a_remote_file_are_refused(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    rows = [{"image": {"bytes": None, "path": "1.png"}, "label": label} for label in (0, 1)]
    pq.write_table(
        pa.Table.from_pylist(rows, pa.schema([("image", KIND), ("label", pa.int64())])), tmp_path / "x.parquet"
    )
    edit(place, "parquet:data.parquet", f"parquet:file://{tmp_path}/x.parquet")
    result = run("split", workspace=place)
    assert result.code == 3
    assert "an image outside of its remote file" in result.error
