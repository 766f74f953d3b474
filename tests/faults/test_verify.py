"""`zoo verify`: all damage of a workspace is listed at once, and the commands that it prints make the files again."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_damage import flipped
from tests.marks import slow
from tests.workspaces import edit, make, run, unseal

Make = Callable[..., Path]
Damage = Callable[[Path], object]
QUICK = ("--steps", "2", "--batch-size", "8", "--augment", "none")
MADE_BY = (
    ("extract", "--gradients", "--views", "2"),
    ("score", "--metric", "ms-leep"),
    ("pseudo-label", "--head", "ridge"),
    ("pseudo-label", "--views", "2"),
    ("pseudo-label", "--head", "ridge", "--views", "2"),
    ("distill", *QUICK, "--weighting", "p=2"),
    ("finetune", "alpha", *QUICK, "--name", "tuned"),
)
PART = "part-00000-of-00001.parquet"
KINDS = (
    "manifest.parquet",
    "classes.json",
    "ranking.parquet",
    "weights.json",
    "features/source=alpha/_source.json",
    "features/source=alpha/_outputs.json",
    f"features/source=beta/data=train/{PART}",
    f"features/source=@student/data=train/{PART}",
    f"features/views/source=alpha/view=1/data=train/{PART}",
    "features/views/_views.json",
    "gradients/source=gamma/_gradients.json",
    "gradients/source=beta/part-*.parquet",
    "scores/parc/beta.parquet",
    "scores/ms-leep.json",
    f"pseudo/source=gamma/{PART}",
    f"pseudo/views/source=gamma/view=0/{PART}",
    "pseudo/head=ridge-product/_head.json",
    "pseudo/head=ridge-product/_pool.safetensors",
    f"pseudo/head=ridge-product/{PART}",
    f"pseudo/views/head=ridge-product/view=1/{PART}",
    "heads/source=beta.safetensors",
    "runs/tuned/run.json",
    "runs/tuned/SHA256SUMS",
    "runs/cross-task-parc-p2-s0/model.safetensors",
    "runs/cross-task-parc-p2-s0/README.md",
    "runs/cross-task-parc-p2-s0/state/step-00000002.safetensors",
)
"""An artifact of each kind, by its path or a pattern."""
NOT_KNOWN = {"features/source=alpha/_outputs.json", "scores/parc/beta.parquet"}
"""Files of which nothing says that they were there; commands make them where they need them."""
MAY_BE_UNFINISHED = {
    f"features/views/source=alpha/view=1/data=train/{PART}",
    "gradients/source=beta/part-*.parquet",
    "scores/ms-leep.json",
    f"pseudo/source=gamma/{PART}",
    f"pseudo/views/source=gamma/view=0/{PART}",
    "runs/tuned/SHA256SUMS",
}
"""Files without which a folder looks as after a kill: they are listed, and no error."""


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 4 if data[:4] == b"PAR1" else len(data) * 3 // 4))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])


DAMAGES: dict[str, Damage] = {"flipped": flip, "truncated": truncate, "removed": Path.unlink}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make(tmp_path_factory.mktemp("complete") / "task", upto="pseudo-label")
    for command in MADE_BY:
        assert run(*command, workspace=place).code == 0
    return place


@pytest.fixture
def copied(complete: Path, tmp_path: Path) -> Path:
    place = tmp_path / "task"
    shutil.copytree(complete, place)
    return place


def verify(place: Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of zoo verify, and its findings."""
    result = run("verify", "--json", workspace=place)
    assert result.code in (0, 3), result.err
    assert result.data["sound"] == (result.code == 0)
    return result.code, result.data["findings"]


def locate(place: Path, kind: str) -> Path:
    (path,) = place.glob(kind)
    return path


def is_named(path: Path, findings: list[dict[str, Any]]) -> bool:
    if path.name == "SHA256SUMS":  # another digest there is one of a file
        return any(path.parent in (Path(row["path"]), *Path(row["path"]).parents) for row in findings)
    return any(row["path"] in (str(path), str(path.parent)) for row in findings)


def follow(findings: list[dict[str, Any]]) -> None:
    """Run the commands of findings in their order, each once."""
    for command in dict.fromkeys(row["command"] for row in findings):
        program, *words = shlex.split(command)
        if program == "rm":
            Path(words[0]).unlink()
        else:
            result = run(*words)
            assert result.code == 0, (command, result.err)


def snapshot(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in place.rglob("*")}


def test_sound_workspace_is_read_and_not_written(copied: Path) -> None:
    before = snapshot(copied)
    result = run("verify", str(copied))
    assert result.code == 0
    assert result.err.splitlines()[-1].endswith(f"files of {copied} checked: sound")
    assert snapshot(copied) == before
    assert run("verify", "-q", workspace=copied).err == ""


@pytest.mark.parametrize("damage", ["flipped", "removed", *slow("truncated")])
def test_all_damage_is_listed_at_once_and_repaired(copied: Path, damage: str) -> None:
    # What one of these would hide is damaged by the other test alone.
    hiding = {"manifest.parquet", "features/views/_views.json", "features/source=alpha/_source.json"}
    # Nothing says that a ranking was there, and the record of a pool, removed too, which heads.
    hidden = {"ranking.parquet", "heads/source=beta.safetensors"} if damage == "removed" else set()
    kinds = [kind for kind in KINDS if kind not in hiding | hidden | NOT_KNOWN and "SHA256" not in kind]
    paths = [locate(copied, kind) for kind in kinds]
    for path in paths:
        DAMAGES[damage](path)
    code, findings = verify(copied)
    assert code == 3
    assert [path for path in paths if not is_named(path, findings)] == []
    follow(findings)
    assert verify(copied) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_damage_is_named_and_repaired(copied: Path, kind: str, damage: str) -> None:
    path = locate(copied, kind)
    DAMAGES[damage](path)
    code, findings = verify(copied)
    if damage == "removed" and kind in NOT_KNOWN:
        assert (code, findings) == (0, [])
        return
    assert is_named(path, findings)
    if damage == "flipped" and kind.startswith("scores/") and code == 0:
        assert {row["state"] for row in findings} == {"stale"}  # the bit is one of the digest of an input
    else:
        assert code == (0 if damage == "removed" and kind in MAY_BE_UNFINISHED else 3)
    follow(findings)
    assert verify(copied) == (0, [])


def test_damaged_failures_are_made_again(workspace: Make) -> None:
    place = workspace(upto="split")
    (place / "images/red/03.png").unlink()
    assert run("extract", "--max-errors", "1", workspace=place).code == 0
    assert verify(place) == (0, [])
    flip(place / "errors/extract.parquet")
    code, findings = verify(place)
    assert code == 3
    assert is_named(place / "errors/extract.parquet", findings)
    result = run("extract", "--overwrite", "--max-errors", "1", workspace=place)
    assert result.code == 0, result.err
    assert verify(place) == (0, [])


def test_stale_files_are_warned_of(copied: Path) -> None:
    edit(copied, 'labelled = "50%"', 'labelled = "25%"')
    code, findings = verify(copied)
    assert code == 0
    assert {row["state"] for row in findings} == {"stale"}
    assert str(copied / "manifest.parquet") in {row["path"] for row in findings}
    follow(findings)
    code, findings = verify(copied)
    assert code == 0
    assert str(copied / "manifest.parquet") not in {row["path"] for row in findings}


def test_unfinished_run_is_listed_and_can_be_finished(copied: Path) -> None:
    command = ("finetune", "beta", "--steps", "3", "--batch-size", "8", "--augment", "none", "--name", "later")
    assert run(*command, "--max-time", "0s", workspace=copied).code == 75
    code, findings = verify(copied)
    assert (code, [row["state"] for row in findings]) == (0, ["unfinished"])
    follow(findings)
    assert verify(copied) == (0, [])
    assert run(*command, "--overwrite", "--max-time", "0s", workspace=copied).code == 75
    (checkpoint,) = copied.glob("runs/.later.new/state/step-*.safetensors")
    flip(checkpoint)
    assert verify(copied)[0] == 3


def test_old_runs_are_one_warning(copied: Path) -> None:
    for folder in copied.glob("runs/*/"):
        (folder / "SHA256SUMS").unlink()
        record = unseal(folder / "run.json")
        del record["written_last"]
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    result = run("verify", "--json", workspace=copied)
    assert [row["state"] for row in result.data["findings"]] == ["unchecked"]
    assert "2 runs have no SHA256SUMS" in result.data["findings"][0]["problem"]


def test_leftovers_are_named(copied: Path) -> None:
    (copied / "features/.part.host.1.aaaa.tmp").write_bytes(b"half")
    code, findings = verify(copied)
    assert (code, [row["state"] for row in findings]) == (0, ["leftover"])


def test_folder_without_artifacts_is_wrong_usage(tmp_path: Path) -> None:
    result = run("verify", str(tmp_path))
    assert result.code == 2
    assert f"no workspace at {tmp_path}" in result.error


@pytest.mark.parametrize(
    "kind",
    [
        "manifest.parquet",
        "heads/source=beta.safetensors",
        *slow("scores/parc/beta.parquet", "pseudo/head=ridge-product/_head.json"),
    ],
)
def test_damage_in_a_label_set_is_named_and_repaired(copied: Path, kind: str) -> None:
    few = ("--labels", "few")
    for command in (
        ("split", "--labelled", "3/class"),
        ("score", "--metric", "parc"),
        ("pseudo-label", "--head", "ridge"),
    ):
        assert run(*command, *few, workspace=copied).code == 0
    assert verify(copied) == (0, [])
    path = copied / "labels" / "few" / kind
    flip(path)
    code, findings = verify(copied)
    assert code == 3
    assert is_named(path, findings)
    follow(findings)
    assert verify(copied) == (0, [])
