"""Artifacts that were damaged on disk, invalid weights files, and code in a checkpoint."""

import contextlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.marks import slow
from tests.workspaces import edit, run, unseal
from zoo_cli.errors import ZooError
from zoo_cli.store import feature_files, parquet_files, schemas
from zoo_cli.store.manifest import load_manifest

Make = Callable[..., Path]
QUICK = ("--steps", "1", "--batch-size", "8", "--augment", "none")
FEATURES = "features/source=alpha/data=train/part-00000-of-00001.parquet"
PSEUDO = "pseudo/source=beta/part-00000-of-00001.parquet"
SCORES = "scores/parc/alpha.parquet"


def flipped(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


def pages_end(data: bytes) -> int:
    """Where the footer of a parquet file begins."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "of no bytes": lambda _: b"",
    "of text": lambda _: b"this is not an artifact\n" * 30,
    "with a flipped bit": lambda data: flipped(data, 150 if data[:4] == b"PAR1" else data.index(b":")),
}
READERS = [
    ("manifest.parquet", ("rank",), "split --overwrite"),
    (FEATURES, ("score", "--metric", "cka"), "extract --source alpha --overwrite"),
    ("features/source=alpha/_source.json", ("rank",), "extract --source alpha --overwrite"),
    (SCORES, ("rank",), "score --metric parc --overwrite"),
    (PSEUDO, ("distill", *QUICK), "pseudo-label --overwrite"),
    ("classes.json", ("distill", *QUICK), "split --overwrite"),
]


FEW = {(row[0], kind) for number, row in enumerate(READERS) for kind in ("with a flipped bit", [*DAMAGE][number % 3])}
"""Of the default suite: of every artifact a flipped bit and one more kind of damage."""
CASES = [
    pytest.param(*row, kind, marks=() if (row[0], kind) in FEW else pytest.mark.slow, id=f"{row[0]}-{kind}")
    for row in READERS
    for kind in DAMAGE
]


@pytest.mark.parametrize(("artifact", "reader", "maker", "damage"), CASES)
def test_damaged_artifact_is_named_and_can_be_remade(
    workspace: Make, artifact: str, reader: tuple[str, ...], maker: str, damage: str
) -> None:
    place = workspace(upto="pseudo-label")
    path = place / artifact
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    result = run(*reader, workspace=place)
    assert result.code == 3
    assert str(path) in result.error
    assert run(*maker.split(), workspace=place).code == 0
    assert run(*reader, workspace=place).code == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("declared", []), ("preprocessing", "none"), ("depth", "18"), ("parameters", {}), ("features", None)],
)
def test_wrong_type_in_the_record_of_a_source_is_refused(workspace: Make, key: str, value: object) -> None:
    place = workspace(upto="extract")
    path = place / "features/source=alpha/_source.json"
    record = unseal(path)
    assert key in record
    path.write_text(json.dumps({**record, key: value}), encoding="utf-8")
    for command in ("score", "sources"):
        result = run(command, workspace=place)
        assert result.code == 3
        assert f'{path}: "{key}" is ' in result.error
        assert "zoo extract --source alpha --overwrite makes it again" in result.error


@pytest.mark.parametrize("bits", [(7, 20), *slow((0, 5), (7, 5))], ids=str)
def test_every_flipped_bit_of_a_page_is_detected(workspace: Make, bits: tuple[int, int]) -> None:
    """`bits`: which one of a byte, and of how many bytes one."""
    bit, stride = bits

    path = workspace(upto="extract") / FEATURES
    data = path.read_bytes()
    whole = pq.read_table(path)
    silent = []
    for position in range(4, pages_end(data), stride):
        path.write_bytes(flipped(data, position, bit))
        try:
            table = parquet_files.read_parquet(path)
        except ZooError:
            continue
        if not table.equals(whole):
            silent.append(position)
    assert silent == []


@pytest.mark.slow
@pytest.mark.parametrize("artifact", [FEATURES, SCORES, "manifest.parquet"])
def test_no_flipped_bit_gives_a_traceback(workspace: Make, artifact: str) -> None:
    place = workspace(upto="score")
    path = place / artifact
    data = path.read_bytes()
    read: dict[str, Callable[[], object]] = {
        FEATURES: lambda: feature_files.load_outputs(path),
        SCORES: lambda: parquet_files.read_table(path, schemas.SCORES).to_pylist(),
        "manifest.parquet": lambda: load_manifest(path, place).truth(),
    }
    random = np.random.default_rng(0)
    for position in range(len(data)):
        path.write_bytes(flipped(data, position, int(random.integers(8))))
        with contextlib.suppress(ZooError):
            parquet_files.read_header(path)
            read[artifact]()


def test_artifact_of_another_kind_is_refused(workspace: Make) -> None:
    place = workspace(upto="score")
    (place / "manifest.parquet").write_bytes((place / SCORES).read_bytes())
    result = run("evaluate", "accuracy", str(place / SCORES), workspace=place)
    assert result.code == 3
    assert "is a zoo.scores/1, not one of" in result.error
    bare = run("distill", "--manifest", str(place / SCORES), "--lam", "1", *QUICK, workspace=place)
    assert bare.code == 3
    assert "is a zoo.scores/1, not a zoo.manifest/1" in bare.error


def test_repeated_manifest_ids_are_refused(workspace: Make) -> None:
    place = workspace(upto="split")
    table = pq.read_table(place / "manifest.parquet")
    ids = table.column("id").to_pylist()
    twice = table.set_column(0, "id", [[ids[0], *ids[:-1]]])
    pq.write_table(twice.replace_schema_metadata(table.schema.metadata), place / "manifest.parquet")
    result = run("extract", workspace=place)
    assert result.code == 3
    assert f"manifest.parquet: 1 ids repeat, e.g. {ids[0]}" in result.error


def test_lost_column_is_named(workspace: Make) -> None:
    place = workspace(upto="extract")
    path = place / FEATURES
    sealless = path.read_bytes().replace(b"zoo.seal", b"no-seal.")
    path.write_bytes(sealless.replace(b"embedding", b"embeddinh"))
    result = run("rank", workspace=place)
    assert result.code == 3
    assert "source=alpha has no column embedding in all its parts" in result.error


def test_damaged_run_checkpoint_is_refused(workspace: Make) -> None:
    place = workspace(upto="pseudo-label")
    paused = run("distill", "--steps", "50", "--max-time", "0s", "--batch-size", "8", "--name", "mine", workspace=place)
    assert paused.code == 75
    (checkpoint,) = (place / "runs/mine/state").glob("*.safetensors")
    checkpoint.write_bytes(flipped(checkpoint.read_bytes(), checkpoint.stat().st_size - 5))
    again = ("distill", "--steps", "50", "--batch-size", "8", "--name", "mine")
    result = run(*again, workspace=place)
    assert result.code == 3
    assert f"the checkpoint {checkpoint} is damaged; --overwrite starts the run again" in result.error
    assert run(*again, "--overwrite", workspace=place).code == 0


@pytest.mark.parametrize(
    ("file", "message"),
    [("run.json", "is not a run.json written by zoo"), ("state/state.json", "--overwrite starts the run again")],
)
@pytest.mark.parametrize("text", ["[]", "{}"])
def test_other_json_in_a_run_folder_is_refused(workspace: Make, file: str, message: str, text: str) -> None:
    if (file, text) == ("run.json", "{}"):
        message = "was made from other inputs: "
    place = workspace(upto="split")
    command = ("finetune", "alpha", "--steps", "50", "--batch-size", "8", "--name", "mine")
    assert run(*command, "--max-time", "0s", workspace=place).code == 75
    (place / "runs/mine" / file).write_text(text)
    result = run(*command, workspace=place)
    assert result.code == (2 if "inputs" in message else 3)
    assert message in result.error
    assert run(*command, "--overwrite", "--max-time", "0s", workspace=place).code == 75


@pytest.mark.parametrize("text", ["[]", "{}", '{"names": []}', '{"names": [1]}'])
def test_classes_json_without_names_is_refused(workspace: Make, text: str) -> None:
    place = workspace(upto="split")
    (place / "classes.json").write_text(text)
    result = run("finetune", "alpha", "--steps", "2", "--batch-size", "8", workspace=place)
    assert result.code == 3
    assert result.error.startswith(f"{place}/classes.json")
    assert result.error.endswith("; zoo split writes it beside the manifest")


class Payload:
    """An object that runs code when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_pickled_code_is_refused_and_not_run(workspace: Make, form: str, ending: str) -> None:
    place = workspace(upto="split")
    path, canary = place / f"alpha.{ending}", place / "canary"
    state = {"0.weight": Payload(canary)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path)
    edit(place, "alpha.safetensors", path.name)
    result = run("extract", workspace=place)
    assert result.code == 3
    assert f"{path} holds pickled code, which zoo never runs" in result.error
    assert "safetensors" in result.error
    assert not canary.exists()
    pickle.loads(path.read_bytes()) if form == "pickle" else torch.load(path, weights_only=False)
    assert canary.exists(), "the payload itself works"


def test_checkpoint_of_tensors_is_read(workspace: Make) -> None:
    place = workspace(upto="split")
    torch.save({"state_dict": load_file(place / "alpha.safetensors")}, place / "alpha.pt")
    edit(place, "alpha.safetensors", "alpha.pt")
    assert run("extract", workspace=place).code == 0


@pytest.mark.parametrize("damage", ["truncated", "of no bytes", "of text"])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_damaged_weights_file_is_named(workspace: Make, ending: str, damage: str) -> None:
    place = workspace(upto="split")
    path = place / f"alpha.{ending}"
    if ending == "pt":
        torch.save(load_file(place / "alpha.safetensors"), path)
        edit(place, "alpha.safetensors", path.name)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    result = run("extract", workspace=place)
    assert result.code == 3
    assert str(path) in result.error


def test_weights_of_another_architecture_are_refused(workspace: Make) -> None:
    place = workspace(upto="split")
    edit(place, "width = 8, classes = 4", "width = 8, classes = 5")
    result = run("extract", workspace=place)
    assert result.code == 3
    assert "alpha.safetensors does not fit the architecture: 4.weight is 4x8 instead of 5x8" in result.error
