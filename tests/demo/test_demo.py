"""`zoo demo`: the lines it prints are the lines it runs, and it goes on where it was stopped."""

import functools
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import workspaces
from tests.workspaces import Result
from zoo_cli import __main__, config, registry
from zoo_cli.demo import demo_data
from zoo_cli.models import loading
from zoo_cli.pipeline import demo
from zoo_cli.store import files, parquet_files

STUDENTS = ["labels-only", "equal", "nearest", "weighted", "heads"]


def shorten(patch: pytest.MonkeyPatch) -> None:
    """A demonstration of a few seconds: 300 digits, a few steps of everything. It only shows that it runs."""
    digits, labels = demo_data.load_digits()
    patch.setattr(demo_data, "load_digits", lambda: (digits[:300], labels[:300]))
    for name, value in {"TRAIN": 200, "SOURCE_STEPS": 20, "SOURCE_IMAGES": 40, "STEPS": 2}.items():
        assert hasattr(demo, name)
        patch.setattr(demo, name, value)


@dataclass(frozen=True)
class Shown:
    """A demonstration that ran in `place`: the commands it was to run, and its output."""

    place: Path
    commands: list[str]
    result: Result


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    import torch

    def offline(*_: Any) -> None:
        raise AssertionError("the demonstration used the network")

    place = tmp_path_factory.mktemp("demo") / "a folder"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(socket.socket, "connect", offline)
        torch.set_num_threads(2)
        try:
            commands = demo.list_commands(place)
            result = workspaces.run("demo", "--out", str(place))
            assert torch.get_num_threads() == 2, "the number of threads is restored"
        finally:
            torch.set_num_threads(threads)
    assert result.code == 0, result.err
    return Shown(place, commands, result)


@pytest.fixture
def copied(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished folder, to resume in."""
    shorten(monkeypatch)
    return Path(shutil.copytree(shown.place, tmp_path / "copy"))


def printed(result: Result) -> list[str]:
    return [line.removeprefix("$ ") for line in result.out.splitlines() if line.startswith("$ ")]


def stamps(place: Path) -> dict[str, tuple[int, bytes]]:
    """The time at which every file was written, and its bytes."""
    return {
        str(path.relative_to(place)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in place.rglob("*")
        if path.is_file()
    }


def test_last_is_a_table_of_the_students(shown: Shown) -> None:
    table = [line.split("\t") for line in shown.result.out.rpartition("\n\n")[2].splitlines()]
    assert table[0] == ["student", "n", "accuracy", "gained", "lost"]
    assert [row[0] for row in table[1:]] == STUDENTS
    assert {row[1] for row in table[1:]} == {"100"}
    labels_only = float(table[1][2])
    for _, n, accuracy, gained, lost in table[1:]:
        assert float(accuracy) - labels_only == pytest.approx((int(gained) - int(lost)) / int(n))
    assert table[1][3:] == ["0", "0"]


def test_pipeline_is_shown_in_order(shown: Shown) -> None:
    assert printed(shown.result) == shown.commands
    made = ["split", "extract", "rank", "pseudo-label", "pseudo-label --head"]
    starts = [*made, *["distill"] * 5, "evaluate accuracy", "evaluate flips"]
    for line, start in zip(shown.commands, starts, strict=True):
        assert line.startswith(f"zoo {start} ")


def test_printed_command_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    real = registry.import_target

    def recording(target: str) -> Callable[..., Any]:
        function = real(target)

        @functools.wraps(function)
        def recorder(**values: Any) -> None:
            calls.append((target, values))

        return recorder

    monkeypatch.setattr(registry, "import_target", recording)
    monkeypatch.setattr(__main__, "import_target", recording)
    for line in demo.list_commands(tmp_path / "it's a folder"):
        calls.clear()
        demo.run_command(line)
        typed = workspaces.run(*shlex.split(line)[1:])
        assert typed.code == 0, typed.err
        assert len(calls) == 2
        assert calls[0] == calls[1]
        assert calls[0][1]["workspace"] == tmp_path / "it's a folder"


def test_students_differ_only_in_their_sources(shown: Shown) -> None:
    runs = {name: files.read_json(shown.place / "runs" / name / "run.json") for name in STUDENTS}
    own = {"lam", "head", "pool", "kd_temperature", "min_weight", "metric"}
    options = [{k: v for k, v in run["options"].items() if k not in own} for run in runs.values()]
    assert all(other == options[0] for other in options)
    assert all(run["student"] == runs["equal"]["student"] for run in runs.values())
    assert [run["options"]["lam"] for run in runs.values()] == [1, 0.5, 0.5, 0.5, 0.2]
    assert [len(run["weights"]) for run in runs.values()][:3] == [0, 4, 1]
    assert {run["threads"] for run in runs.values()} == {1}


def test_zoo_toml_loads(shown: Shown) -> None:
    settings = config.load(shown.place)
    assert settings.task.seed == 0
    assert settings.task.labelled == "3/class"
    assert [source.name for source in settings.sources] == list(demo_data.KINDS)
    for source in settings.sources:
        model = loading.load_model(source, shown.place)
        assert model.class_names == demo_data.KINDS[source.name][0]
        assert model.tap.dim == 64


def test_images_are_the_digits_with_stable_names(shown: Shown) -> None:
    from PIL import Image

    digits, labels = demo_data.load_digits()
    paths = sorted((shown.place / "digits").rglob("*.png"), key=lambda path: path.stem)
    assert [path.stem for path in paths] == [f"{number:04}" for number in range(300)]
    assert [path.parent.name for path in paths] == [str(label) for label in labels[:300]]
    assert [path.parent.parent.name for path in paths] == ["train"] * 200 + ["test"] * 100
    with Image.open(paths[17]) as image:
        assert image.mode == "L"
        assert list(image.tobytes()) == digits[17].ravel().tolist()


def test_second_time_repeats_nothing(copied: Path, shown: Shown) -> None:
    before = stamps(copied)
    result = workspaces.run("demo", "--out", str(copied))
    assert result.code == 0, result.err
    views = {"ranking.parquet", "weights.json"}
    assert {k: v for k, v in stamps(copied).items() if k not in views} == {
        k: v for k, v in before.items() if k not in views
    }
    assert result.out.rpartition("\n\n")[2] == shown.result.out.rpartition("\n\n")[2]


def test_missing_files_are_made_again_bit_equal(copied: Path) -> None:
    before = stamps(copied)
    source, picture = copied / "sources" / "shapes.safetensors", next((copied / "digits").rglob("*.png"))
    source.unlink()
    picture.write_bytes(picture.read_bytes()[:40])
    (copied / "runs" / "nearest" / "predictions.parquet").unlink()
    result = workspaces.run("demo", "--out", str(copied))
    assert result.code == 0, result.err
    after = stamps(copied)
    for path in (source, picture, copied / "runs" / "nearest" / "predictions.parquet"):
        name = str(path.relative_to(copied))
        assert after[name][1] == before[name][1]
    assert "trained" in result.err
    assert result.err.count("trained ") == 1


def test_folder_of_another_seed_is_refused(copied: Path) -> None:
    before = stamps(copied)
    result = workspaces.run("demo", "--out", str(copied), "--seed", "1")
    assert result.code == 2
    assert result.error == f"{copied} has a zoo.toml of another seed than 1; --out another folder"
    assert stamps(copied) == before


def test_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    result = workspaces.run("demo", "--out", str(tmp_path))
    assert result.code == 2
    assert result.error == f"{tmp_path} contains other files; --out another folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = workspaces.run("demo", "--out", str(tmp_path / "file"))
    assert result.code == 2
    assert result.error == f"{tmp_path / 'file'} is not a folder; --out another folder"


def test_unwritable_image_is_an_error(copied: Path) -> None:
    shutil.rmtree(copied / "digits")
    (copied / "digits").write_text("in the way")
    result = workspaces.run("demo", "--out", str(copied))
    assert result.code == 1
    assert result.error.startswith(f"cannot write {copied / 'digits'}")


def test_missing_packages_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = workspaces.run("demo")
    assert result.code == 2
    assert result.error == 'zoo demo needs scikit-learn; pip install "zoo-cli[demo]"'
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_related_source_is_first_and_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = workspaces.run("demo")
    assert result.code == 0, result.err
    (place,) = tmp_path.iterdir()
    ranking = parquet_files.read_parquet(place / "ranking.parquet").to_pylist()
    assert [row["source"] for row in ranking if row["rank"] == 1] == ["printed-digits"]
    accuracy = {row.student: row.accuracy for row in demo.compare_students(place)}
    assert list(accuracy) == STUDENTS
    # Both gain fifteen points with this seed, see the table in tests/e2e/README.md.
    assert min(accuracy["nearest"], accuracy["weighted"]) > accuracy["labels-only"] + 0.05
    assert result.out.rpartition("\n\n")[2].splitlines()[4].startswith("weighted")
