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
from zoo_cli.store import files

STUDENTS = ["labels-only", "equal", "nearest", "weighted"]


def shorten(patch: pytest.MonkeyPatch) -> None:
    """A demonstration of a few seconds: 300 digits, two steps of everything. It shows nothing but that it runs."""
    digits, labels = demo_data.load_digits()
    patch.setattr(demo_data, "load_digits", lambda: (digits[:300], labels[:300]))
    for name, value in {"TRAIN": 200, "SOURCE_STEPS": 2, "SOURCE_IMAGES": 40, "STEPS": 2}.items():
        assert hasattr(demo, name)
        patch.setattr(demo, name, value)


@dataclass(frozen=True)
class Shown:
    """A demonstration that ran in `place`, the lines it was to run, and what it said."""

    place: Path
    lines: list[str]
    result: Result


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    import torch

    def offline(*_: Any) -> None:
        raise AssertionError("the demonstration asked the network")

    place = tmp_path_factory.mktemp("demo") / "a folder"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(socket.socket, "connect", offline)
        torch.set_num_threads(2)
        try:
            lines = demo.lines(place)
            result = workspaces.run("demo", "--out", str(place))
            assert torch.get_num_threads() == 2, "the threads of the caller come back"
        finally:
            torch.set_num_threads(threads)
    assert result.code == 0, result.err
    return Shown(place, lines, result)


@pytest.fixture
def copied(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished folder, to go on in."""
    shorten(monkeypatch)
    return Path(shutil.copytree(shown.place, tmp_path / "copy"))


def printed(result: Result) -> list[str]:
    return [line.removeprefix("$ ") for line in result.out.splitlines() if line.startswith("$ ")]


def stamps(place: Path) -> dict[str, tuple[int, bytes]]:
    """When every file was written, and its bytes."""
    return {
        str(path.relative_to(place)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in place.rglob("*")
        if path.is_file()
    }


def test_it_ends_with_a_table_of_the_four_students(shown: Shown) -> None:
    table = [line.split("\t") for line in shown.result.out.rpartition("\n\n")[2].splitlines()]
    assert table[0] == ["student", "n", "accuracy", "gained", "lost"]
    assert [row[0] for row in table[1:]] == STUDENTS
    assert {row[1] for row in table[1:]} == {"100"}
    labels_only = float(table[1][2])
    for _, n, accuracy, gained, lost in table[1:]:
        assert float(accuracy) - labels_only == pytest.approx((int(gained) - int(lost)) / int(n))
    assert table[1][3:] == ["0", "0"]


def test_the_whole_pipeline_is_shown_in_its_order(shown: Shown) -> None:
    assert printed(shown.result) == shown.lines
    starts = ["split", "extract", "rank", "pseudo-label", *["distill"] * 4, "evaluate accuracy", "evaluate flips"]
    for line, start in zip(shown.lines, starts, strict=True):
        assert line.startswith(f"zoo {start} ")


def test_a_printed_line_typed_into_the_program_makes_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    real = registry.import_target

    def recording(target: str) -> Callable[..., Any]:
        function = real(target)

        @functools.wraps(function)
        def recorder(**said: Any) -> None:
            calls.append((target, said))

        return recorder

    monkeypatch.setattr(registry, "import_target", recording)
    monkeypatch.setattr(__main__, "import_target", recording)
    for line in demo.lines(tmp_path / "it's a folder"):
        calls.clear()
        demo.run(line)
        typed = workspaces.run(*shlex.split(line)[1:])
        assert typed.code == 0, typed.err
        assert len(calls) == 2
        assert calls[0] == calls[1]
        assert calls[0][1]["workspace"] == tmp_path / "it's a folder"


def test_the_students_differ_by_their_teaching_alone(shown: Shown) -> None:
    runs = {name: files.read_json(shown.place / "runs" / name / "run.json") for name in STUDENTS}
    options = [{k: v for k, v in run["options"].items() if k != "lam"} for run in runs.values()]
    assert all(other == options[0] for other in options)
    assert all(run["student"] == runs["equal"]["student"] for run in runs.values())
    assert [run["options"]["lam"] for run in runs.values()] == [1, 0.5, 0.5, 0.5]
    assert [len(run["weights"]) for run in runs.values()][:3] == [0, 4, 1]
    assert {run["threads"] for run in runs.values()} == {1}


def test_its_zoo_toml_is_one_that_loads(shown: Shown) -> None:
    settings = config.load(shown.place)
    assert settings.task.seed == 0
    assert settings.task.labelled == "3/class"
    assert [source.name for source in settings.sources] == list(demo_data.KINDS)
    for source in settings.sources:
        model = loading.load_model(source, shown.place)
        assert model.class_names == demo_data.KINDS[source.name][0]
        assert model.tap.dim == 64


def test_its_images_are_the_digits_with_stable_names(shown: Shown) -> None:
    from PIL import Image

    digits, labels = demo_data.load_digits()
    found = sorted((shown.place / "digits").rglob("*.png"), key=lambda path: path.stem)
    assert [path.stem for path in found] == [f"{number:04}" for number in range(300)]
    assert [path.parent.name for path in found] == [str(label) for label in labels[:300]]
    assert [path.parent.parent.name for path in found] == ["train"] * 200 + ["test"] * 100
    with Image.open(found[17]) as image:
        assert image.mode == "L"
        assert list(image.tobytes()) == digits[17].ravel().tolist()


def test_a_second_time_makes_nothing_again(copied: Path, shown: Shown) -> None:
    before = stamps(copied)
    result = workspaces.run("demo", "--out", str(copied))
    assert result.code == 0, result.err
    views = {"ranking.parquet", "weights.json"}
    assert {k: v for k, v in stamps(copied).items() if k not in views} == {
        k: v for k, v in before.items() if k not in views
    }
    assert result.out.rpartition("\n\n")[2] == shown.result.out.rpartition("\n\n")[2]


def test_what_is_missing_is_made_again_to_the_same_bytes(copied: Path) -> None:
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


def test_a_folder_of_another_seed_is_refused(copied: Path) -> None:
    before = stamps(copied)
    result = workspaces.run("demo", "--out", str(copied), "--seed", "1")
    assert result.code == 2
    assert result.error == f"{copied} has a zoo.toml that is not of seed 1; --out another folder"
    assert stamps(copied) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    result = workspaces.run("demo", "--out", str(tmp_path))
    assert result.code == 2
    assert result.error == f"{tmp_path} holds files and no demonstration; --out another folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = workspaces.run("demo", "--out", str(tmp_path / "file"))
    assert result.code == 2
    assert result.error == f"{tmp_path / 'file'} is no folder; --out another folder"


def test_an_image_that_cannot_be_written_is_no_bug(copied: Path) -> None:
    shutil.rmtree(copied / "digits")
    (copied / "digits").write_text("in the way")
    result = workspaces.run("demo", "--out", str(copied))
    assert result.code == 1
    assert result.error.startswith(f"cannot write {copied / 'digits'}")


def test_without_its_packages_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = workspaces.run("demo")
    assert result.code == 2
    assert result.error == 'zoo demo needs scikit-learn; pip install "zoo-cli[demo]"'
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_related_source_comes_first_and_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = workspaces.run("demo")
    assert result.code == 0, result.err
    (place,) = tmp_path.iterdir()
    ranking = files.read_parquet(place / "ranking.parquet").to_pylist()
    assert [row["source"] for row in ranking if row["rank"] == 1] == ["printed-digits"]
    accuracy = {row["student"]: row["accuracy"] for row in demo.results(place)}
    assert list(accuracy) == STUDENTS
    # Both gain fifteen points with this seed, see the table in tests/e2e/README.md.
    assert min(accuracy["nearest"], accuracy["weighted"]) > accuracy["labels-only"] + 0.05
    assert result.out.rpartition("\n\n")[2].splitlines()[4].startswith("weighted")
