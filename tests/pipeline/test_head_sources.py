"""Which sources take part in a pool of heads, with what, and where the answers of a choice of them are kept."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zoo_cli as zoo
from tests.pipeline.test_head_labels import digests
from tests.pipeline.transfer_workspace import QUICK, ok
from tests.workspaces import CLASSES, MODEL, edit, make, run
from zoo_cli.heads.ridge import ridge
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.store import files
from zoo_cli.store.manifest import Images, load_manifest

RIDGE = ("pseudo-label", "--head", "ridge")
DECLARED = '\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="extract")


def store_remote(workspace: Path, **columns: np.ndarray) -> Images:
    """Declare a source of which only stored outputs are known, in an order of its own."""
    images = load_manifest(workspace / "manifest.parquet", workspace)
    order = np.random.default_rng(1).permutation(len(images))
    lists = {name: pa.array(values[order].tolist()) for name, values in columns.items()}
    pq.write_table(pa.table({"id": images.ids[order].tolist(), **lists}), workspace / "remote.parquet")
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(DECLARED)
    return images


def draw(kind: str, count: int) -> dict[str, np.ndarray]:
    """Stored outputs that say something of the classes."""
    generator = np.random.default_rng(5)
    centres = np.repeat(generator.standard_normal((3, 5)), count // 3, axis=0)
    values = (centres + 0.4 * generator.standard_normal((count, 5))).astype(np.float32).astype(np.float64)
    if kind == "probs":
        values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    if kind == "sigmoid probs":
        values = 1 / (1 + np.exp(-values))
    return {{"features": "embedding", "sigmoid logits": "logits", "sigmoid probs": "probs"}.get(kind, kind): values}


def centred(values: np.ndarray) -> np.ndarray:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def log_softmax(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)))


# What the head of each kind reads (heads.md 1): log-probabilities less the row's mean, and logits of sigmoid sources.
REPRESENTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "features": lambda values: values,
    "logits": lambda values: centred(np.maximum(log_softmax(values), np.log(1e-6))),
    "probs": lambda values: centred(np.log(np.maximum(values, 1e-6))),
    "sigmoid logits": lambda values: values,
    "sigmoid probs": lambda values: np.log(values / (1 - values)),
}


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_stored_outputs_of_every_kind_take_part(workspace: Path, kind: str) -> None:
    outputs = draw(kind, 36)
    images = store_remote(workspace, **outputs)
    if kind.startswith("sigmoid"):
        edit(workspace, DECLARED, DECLARED + 'output = "sigmoid"\n')
    result = ok(*RIDGE, "--json", workspace=workspace)
    assert [row["source"] for row in result.data] == ["alpha", "beta", "gamma", "remote"]
    rows = images.where(split=("labelled", "unlabelled"))
    targets = TargetLabels.of(images.labels[rows], len(CLASSES))
    (values,) = outputs.values()
    expected = ridge(Features.of(REPRESENTATIONS[kind](values[rows])), targets)
    assert result.data[-1]["nll"] == pytest.approx(expected.nll, rel=1e-4)
    assert result.data[-1]["lam"] == pytest.approx(expected.lam)


def test_student_takes_part_under_a_name_of_its_own(workspace: Path) -> None:
    ok(*RIDGE, workspace=workspace)
    before = digests(workspace / "pseudo/head=ridge-product")
    result = ok(*RIDGE, "--with-student", "--json", workspace=workspace)
    assert [row["source"] for row in result.data] == ["alpha", "beta", "gamma", "@student"]
    assert digests(workspace / "pseudo/head=ridge-product") == before
    assert (workspace / "pseudo/head=ridge-product-with-student/_head.json").exists()
    assert "is up to date" in ok(*RIDGE, workspace=workspace).err


def test_two_choices_of_sources_live_side_by_side(workspace: Path) -> None:
    """Neither makes the other stale, in pseudo/ and runs/, and all sources keep the name without a list."""
    distill = ("distill", "--objective", "heads", *QUICK)
    choices = ((), ("--source", "gamma", "--source", "alpha"), ("--source", "beta"))
    for _ in range(2):
        for choice in choices:
            ok(*RIDGE, *choice, workspace=workspace)
            ok(*distill, *choice, workspace=workspace)
    names = ("", "-of-alpha+gamma", "-of-beta")
    assert {path.name for path in (workspace / "pseudo").iterdir()} == {f"head=ridge-product{name}" for name in names}
    runs = [workspace / f"runs/heads-ridge-product{name}-s0" for name in names]
    assert {path.parent for path in workspace.glob("runs/*/run.json")} == set(runs)
    weights = [[row["source"] for row in files.read_json(folder / "run.json")["weights"]] for folder in runs]
    assert weights == [["alpha", "beta", "gamma"], ["gamma", "alpha"], ["beta"]]


def test_stale_answers_name_the_command_that_makes_them(workspace: Path) -> None:
    """The hint can be run as it is: it names the pool and the sources."""
    flags = ("--head", "ncm", "--pool", "best", "--source", "alpha", "--source", "beta", "--with-student")
    ok("pseudo-label", *flags, workspace=workspace)
    ok("split", "--labelled", "30%", "--overwrite", workspace=workspace)
    stale = run("pseudo-label", *flags, workspace=workspace)
    assert stale.code == 2
    hint = f"zoo {shlex.join(('pseudo-label', *flags))} --overwrite"
    assert stale.error.endswith(f"; {hint} makes it again")
    ok(*shlex.split(hint)[1:], workspace=workspace)
    assert "is up to date" in ok("pseudo-label", *flags, workspace=workspace).err


def test_long_choices_have_a_digest(workspace: Path) -> None:
    long = "a" * 140
    edit(workspace, 'name = "beta"', f'name = "{long}"')
    ok(*RIDGE, "--source", "alpha", "--source", long, workspace=workspace)
    (folder,) = (workspace / "pseudo").iterdir()
    assert len(folder.name) == len("head=ridge-product-of-12345678")


def test_leaking_source_changes_no_byte(tmp_path: Path) -> None:
    """Heads, graph, answers and student are those of a zoo without it, though it would answer perfectly."""
    clean, leaking = (make(tmp_path / name, upto="extract") for name in ("clean", "leaking"))
    images = load_manifest(leaking / "manifest.parquet", leaking)
    store_remote(leaking, embedding=100 * np.eye(3)[images.truth()])
    edit(leaking, DECLARED, DECLARED + 'trained_on = ["patterns"]\n')
    for place in (clean, leaking):
        result = ok(*RIDGE, workspace=place)
        ok("distill", "--objective", "heads", *QUICK, workspace=place)
    assert "remote is excluded: trained on patterns" in result.err
    for folder in ("pseudo", "heads", "runs/heads-ridge-product-s0"):
        assert digests(clean / folder)
        assert digests(clean / folder) == digests(leaking / folder)
    assert not (leaking / "features/source=remote").exists()


def test_excluded_sources_need_no_features(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    edit(place, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    ok("distill", "--objective", "heads", *QUICK, workspace=place)
    assert {path.name for path in (place / "features").glob("source=*")} == {"source=beta", "source=gamma"}


# Each: what it does to a workspace, flags, exit code, and the whole error line with {place} for the folder.
Case = tuple[Callable[[Path], object], tuple[str, ...], int, str]


def exclude_all(place: Path) -> None:
    text = (place / "zoo.toml").read_text(encoding="utf-8")
    text = text.replace('trained_on = ["shapes"]\n', "").replace("[[source]]\n", '[[source]]\ntrained_on = ["own"]\n')
    (place / "zoo.toml").write_text(text.replace("[task]\n", '[task]\naliases = ["own"]\n'), encoding="utf-8")


def one_class(place: Path) -> None:
    edit(place, 'labelled = "50%"', 'labelled = "1"')


def store(**columns: object) -> Callable[[Path], object]:
    """Stored outputs of a source, written as they are."""

    def change(place: Path) -> None:
        pq.write_table(pa.table(columns), place / "remote.parquet")
        with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
            stream.write(DECLARED)

    return change


def store_nan(place: Path) -> None:
    values = np.ones((36, 4))
    values[7, 2] = np.nan
    store_remote(place, embedding=values)


def store_some(place: Path) -> None:
    images = load_manifest(place / "manifest.parquet", place)
    store(id=images.ids[3:].tolist(), embedding=np.eye(33)[:, :2].tolist())(place)


def store_nothing(place: Path) -> None:
    images = load_manifest(place / "manifest.parquet", place)
    store(id=images.ids.tolist())(place)


def declare_missing(place: Path) -> None:
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(DECLARED)


def unchanged(_place: Path) -> None:
    pass


CASES: dict[str, Case] = {
    "fewer than two labelled classes": (
        one_class,
        (),
        2,
        "1 of the 3 classes of {place}/classes.json have a labelled image, heads need two; "
        "label more images, or raise `labelled` in zoo.toml; then zoo split --overwrite",
    ),
    "excluded sources only": (
        exclude_all,
        (),
        2,
        "no source is left to fit a head on: alpha trained on own, beta trained on own, gamma trained on own; "
        "add a source that has not seen this task, or correct its trained_on in zoo.toml",
    ),
    "ids of another manifest": (
        store(id=["x", "y"], embedding=[[1.0], [2.0]]),
        (),
        3,
        "{place}/remote.parquet has no id of {place}/manifest.parquet; compare both with zoo show",
    ),
    "ids that are missing": (
        store_some,
        (),
        3,
        "{place}/features/source=remote lacks 3 of 30 ids of the manifest",
    ),
    "values that are not finite": (
        store_nan,
        (),
        3,
        "{place}/remote.parquet: column embedding is not finite (or beyond float32) in 1 rows, e.g. ",
    ),
    "nothing stored": (
        store_nothing,
        (),
        3,
        "remote gives neither features nor logits; "
        "stored outputs need a column embedding, logits or probs; or leave the source out",
    ),
    "no file": (
        declare_missing,
        (),
        2,
        "no stored features at {place}/remote.parquet for the source remote; correct its path, or leave it out",
    ),
    "unknown head": (unchanged, ("--head", "rigde"), 2, 'no head "rigde"; did you mean ridge? one of: logistic, ncm'),
    "unknown pool": (unchanged, ("--pool", "prodct"), 2, 'no pool "prodct"; did you mean product? one of: best'),
    "unknown parameter": (unchanged, ("--head", "ncm:lam=1"), 2, 'no parameter of head ncm "lam"; one of: T'),
    "penalty out of range": (unchanged, ("--head", "ridge:lam=-1"), 2, "lam=-1 is not positive and finite; leave"),
    "temperature out of range": (unchanged, ("--head", "ncm:T=0"), 2, "T=0 is not positive and finite; leave T out"),
    "neighbours out of range": (unchanged, ("--pool", "spread:k=0"), 2, "k=0 is below 1; k is the number of neigh"),
    "share out of range": (unchanged, ("--pool", "product:a=1"), 2, "a=1 is not between 0 and 1; a is the share"),
    "unknown source": (unchanged, ("--source", "alhpa"), 2, 'no source "alhpa"; did you mean alpha?'),
    "source twice": (unchanged, ("--source", "beta", "--source", "beta"), 2, "two sources have the same name; name"),
}
WITHOUT_FILES = {name for name, (change, *_) in CASES.items() if change in (unchanged, exclude_all)}
"""The cases that need no look at images, features or labels."""


@pytest.mark.parametrize("command", ["pseudo-label", "distill"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_before_any_work(tmp_path: Path, case: str, command: str) -> None:
    """An error with what to do; nothing is trained, and what is wrong with the flags makes no file at all."""
    change, flags, code, message = CASES[case]
    place = make(tmp_path / "task", upto=None if case in WITHOUT_FILES or change is one_class else "extract")
    change(place)
    heads = {"pseudo-label": () if "--head" in flags else ("--head", "ridge"), "distill": ("--objective", "heads")}
    result = run(command, *heads[command], *flags, *(QUICK if command == "distill" else ()), workspace=place)
    assert (result.code, result.error[: len(message.format(place=place))]) == (code, message.format(place=place))
    assert ";" in result.error
    assert not (place / "runs").exists()
    assert not (place / "pseudo").exists()
    assert (place / "manifest.parquet").exists() == (case not in WITHOUT_FILES)
    if change is one_class:
        assert not (place / "features").exists()


@pytest.mark.filterwarnings("ignore::zoo_cli.ZooWarning")
@pytest.mark.parametrize("method", ["pseudo_label", "distill"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_an_exception_of_the_api(tmp_path: Path, case: str, method: str) -> None:
    """The same errors, in the words of the API, and nothing printed."""
    change, flags, code, message = CASES[case]
    place = make(tmp_path / "task", upto=None if case in WITHOUT_FILES or change is one_class else "extract")
    change(place)
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    head, pool = values.get("--head", "ridge"), values.get("--pool", "product")
    sources = flags[1::2] if "--source" in flags else ()
    ws = zoo.Workspace(place)
    config = zoo.HeadsConfig(head=head, pool=pool, sources=sources)
    calls: dict[str, Callable[[], object]] = {
        "pseudo_label": lambda: ws.pseudo_label(sources, head=head, pool=pool),
        "distill": lambda: ws.distill(config=config, training=zoo.TrainingConfig(steps=1, device="cpu")),
    }
    with pytest.raises(zoo.ZooError) as caught:
        calls[method]()
    error = caught.value
    assert (error.code, error.message[:40]) == (code, message.format(place=place).partition("; ")[0][:40])
    assert error.hint
    assert "--" not in str(error)
    assert not (place / "runs").exists()


@pytest.mark.parametrize("command", ["pseudo-label", "distill"])
def test_class_without_labels_is_named_every_time(tmp_path: Path, command: str) -> None:
    place = make(tmp_path / "task", labelled="2")
    flags = ("--head", "ridge") if command == "pseudo-label" else ("--objective", "heads", *QUICK)
    first, second = (ok(command, *flags, workspace=place) for _ in range(2))
    record = files.read_json(place / "pseudo/head=ridge-product/_head.json")
    (missing,) = record["missing"]
    for result in (first, second):
        warning = f"zoo: warning: no labelled image of {missing}: the heads never answer with these classes"
        assert result.err.count(warning) == 1


STUDENT = f"[student]{MODEL.format(width=6, classes=3)}"


def test_student_must_be_declared_and_have_all_features(tmp_path: Path) -> None:
    place = make(tmp_path / "task", unlabelled="folder:images")
    result = run(*RIDGE, "--with-student", workspace=place)
    assert (result.code, "leave --with-student out" in result.error) == (2, True)
    assert not (place / "manifest.parquet").exists()
    edit(place, STUDENT, "")
    result = run(*RIDGE, "--with-student", workspace=place)
    assert (result.code, result.error) == (
        2,
        f"no [student] in {place}/zoo.toml; add the table, or leave the student out",
    )
