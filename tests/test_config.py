"""zoo.toml is read strictly: unknown keys and values of a wrong type are errors that name the key."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zoo_cli import config
from zoo_cli.errors import UsageError

WHOLE = """
[task]
name = "pets"
aliases = ["oxford-pets"]
train = "folder:a"
test = ["folder:b", "folder:c"]
labelled = 20
probe = "all"
probe_per_class = 5
seed = 3
[student]
model = "torchvision:resnet18"
classes = "names.txt"
[[source]]
name = "birds"
model = "python:m.py:build"
args = { card = "c.json", depth = 3 }
mean = [0, 0.5, 1.0]
classes = ["a", "b"]
trained_on = ["cub"]
[[source]]
model = "file:zoo/cars"
classes = 0
"""


def load(tmp_path: Path, text: str) -> config.Config:
    (tmp_path / "zoo.toml").write_text(text)
    return config.load(tmp_path)


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, WHOLE)
    assert settings.task == config.Task(
        "pets", ("oxford-pets",), ("folder:a",), ("folder:b", "folder:c"), (), "20", "all", 5, 3
    )
    assert settings.student == config.Source("student", "torchvision:resnet18", classes=("names.txt",))
    birds, cars = settings.sources
    assert birds.args == {"card": "c.json", "depth": 3}
    assert birds.mean == (0.0, 0.5, 1.0)
    assert birds.classes == ("a", "b")
    assert (cars.name, cars.classes) == ("cars", 0)
    assert settings.find_source("@student").classes == ("names.txt",)
    assert [source.name for source in settings.models] == ["birds", "cars", "@student"]


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert config.load(tmp_path).task == config.Task()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tusk]", r'unknown key "tusk" in .*; did you mean task\?'),
        ("[task]\nlabeled = 3", r'unknown key "labeled" in \[task\] .*did you mean labelled\?'),
        ("[task]\nseed = 1.5", "seed = 1.5 in .*expected an integer"),
        ("[task]\nseed = true", "seed = True in .*expected an integer"),
        ("[task]\ntrain = 3", "train = 3 in .*expected a string or a list of strings"),
        ("[task]\naliases = 3", "aliases = 3 in .*expected a list of strings"),
        ("[task]\nprobe = []", "probe = .*expected an integer or a string"),
        ('[student]\nmodel = "m"\nargs = 3', "args = 3 in .*expected a table"),
        ('[student]\nmodel = "m"\nhead = 1', "head = 1 in .*expected true or false"),
        ('[student]\nmodel = "m"\nclasses = 1.5', "classes = 1.5 in .*expected an integer or a list of strings"),
        ("task = 3", r"\[task\] of .* is not a table"),
        ("[student]", 'no "model" in .student.'),
        ('[student]\nmodel = "m"\nstd = ["a"]', "std = .*a list of numbers"),
        ('[student]\nmodel = "m"\noutput = "relu"', "softmax or sigmoid"),
        ('[[source]]\nmodel = "m"\nmean = [123.675]', r"source\]\] 1 of .*: mean = \[123.7\].*divided by 255: mean"),
        ('[student]\nmodel = "m"\nstd = [58, 57, 57]', r"std = \[58, 57, 57\].*divided by 255: std = \[0.2275"),
        ('[source]\nmodel = "m"', r"write \[\[source\]\]"),
        ('[[source]]\nmodel = "file:a"\n[[source]]\nmodel = "file:b/a"', 'two sources .* are named "a"'),
        ('[[source]]\nname = "../x"\nmodel = "m"', "cannot name a source"),
        ('[[source]]\nname = "@student"\nmodel = "m"', "cannot name a source"),
        ("source = [3]", r"\[\[source\]\] of .* is not a table"),
        ("[task", "is not valid TOML: .*; fix that line"),
    ],
)
def test_an_error_names_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        load(tmp_path, text)
    assert raised.value.code == 2
    assert "\n" not in str(raised.value)


def test_an_unknown_source_suggests_the_nearest(tmp_path: Path) -> None:
    settings = load(tmp_path, WHOLE)
    with pytest.raises(UsageError, match=r'no source "bird"; did you mean birds\?'):
        settings.find_source("bird")


def test_flags_override_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, WHOLE).with_task(seed=0, probe_per_class=0, train=["folder:/z"], labelled=None)
    task = settings.task
    assert (task.seed, task.probe_per_class, task.train, task.labelled) == (
        0,
        0,
        ("folder:/z",),
        "20",
    )


@examples(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_load_or_are_a_usage_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "zoo.toml").write_bytes(data)
    with contextlib.suppress(UsageError):
        assert config.load(folder).root == folder


@pytest.mark.parametrize(
    ("spec", "rebased"),
    [
        ("folder:pets/train", "folder:../pets/train"),
        ("parquet:a/*.parquet", "parquet:../a/*.parquet"),
        ("python:nets/m.py:build", "python:../nets/m.py:build"),
        ("folder:/abs", "folder:/abs"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("timm:a.b", "timm:a.b"),
    ],
)
def test_typed_paths_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, rebased: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config.rebase_spec(spec, Path("work")) == rebased
    assert config.rebase_spec(spec, Path()) == spec


def test_a_key_added_later_changes_no_earlier_declaration(tmp_path: Path) -> None:
    settings = config.Config(tmp_path)
    assert "feature_output" not in settings.declared(config.Source("s", "file:net"))
    assert settings.declared(config.Source("s", "file:net", feature_output=":cls"))["feature_output"] == ":cls"
