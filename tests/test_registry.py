"""The tables of names, and the parser of specs."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workspaces import run
from zoo_cli import registry, specs
from zoo_cli.entries import Entry
from zoo_cli.errors import UsageError

PACKAGE = Path(registry.__file__).parent

ENTRIES = [(kind, name) for kind, table in registry.TABLES.items() for name in table]


def defines(target: str) -> bool:
    """Whether the module of "module:attribute" defines it, from its text, without importing it."""
    module, _, attribute = target.partition(":")
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return attribute in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_has_a_function_and_a_summary(kind: str, name: str) -> None:
    entry = registry.TABLES[kind][name]
    assert defines(entry.target)
    assert len(entry.summary) > 20


@pytest.mark.parametrize("name", [name for name, entry in registry.OBJECTIVES.items() if entry.lam is not None])
def test_lam_of_the_table_is_the_default_everywhere(name: str) -> None:
    """That of the loss, of the flag's help, and of the README."""
    lam = registry.default_lam(name)
    assert inspect.signature(registry.load(registry.OBJECTIVES[name])).parameters["lam"].default == lam
    help_text = " ".join(run("distill", "--help").out.split())
    assert re.search(rf"labels only\. \[default: [^]]*\b{re.escape(f'{lam:g}')}\b", help_text)
    row = re.search(rf"^\| `{name}` .*$", (PACKAGE.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    assert f" {lam:g} " in row[0].split("|")


@pytest.mark.parametrize("name", registry.METRICS)
def test_leave_one_out_takes_the_parameters_of_its_metric(name: str) -> None:
    entry = registry.METRICS[name]
    if entry.leave_one_out:
        leave_one_out, metric = registry.import_target(entry.leave_one_out), registry.load(entry)
        assert list(inspect.signature(leave_one_out).parameters.items()) == list(
            inspect.signature(metric).parameters.items()
        )


@pytest.mark.parametrize("name", [name for name, entry in registry.METRICS.items() if entry.pair_variance])
def test_pair_variance_takes_the_parameters_of_its_metric(name: str) -> None:
    entry = registry.METRICS[name]
    assert entry.leave_one_out, "it corrects the jackknife"
    pair_variance, metric = registry.import_target(entry.pair_variance), registry.load(entry)
    assert list(inspect.signature(pair_variance).parameters) == list(inspect.signature(metric).parameters)


def test_missing_target_is_detected() -> None:
    assert not defines("zoo_cli.metrics.parc:park")
    assert not defines("zoo_cli.metrics.park:parc")


@pytest.mark.parametrize(
    ("kind", "text", "name", "params"),
    [
        ("metric", "parc", "parc", {}),
        ("metric", "parc:pca=32,cosine=true", "parc", {"pca": 32, "cosine": True}),
        ("metric", " parc : cosine = TRUE , pca = 8 ", "parc", {"pca": 8, "cosine": True}),
        ("weighting", "p=2", "power", {"p": 2.0}),
        ("weighting", "p=inf", "power", {"p": float("inf")}),
        ("weighting", "power:p=1e-3", "power", {"p": 0.001}),
        ("weighting", "topk:k=5,p=9", "topk", {"k": 5, "p": 9.0}),
        ("weighting", "random:k=none", "random", {"k": None}),
        ("weighting", "inverse:form=complement", "inverse", {"form": "complement"}),
        ("weighting", "file:a,b=c:d.json", "file", {"path": "a,b=c:d.json"}),
    ],
)
def test_a_spec_resolves_to_a_name_and_parameters(kind: str, text: str, name: str, params: dict[str, Any]) -> None:
    method = specs.resolve(kind, text)
    assert method.name == name
    assert method.params == params
    assert [type(value) for value in method.params.values()] == [type(params[key]) for key in method.params]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("metric", "park", "did you mean parc?"),
        ("metric", "p=2", 'no metric "p=2"'),
        ("metric", "", f"one of: {', '.join(sorted(registry.METRICS))}"),
        ("metric", "parc:pac=3", "did you mean pca?"),
        ("metric", "lfc:x=1", 'no parameter of metric lfc "x"'),
        ("metric", "leep:x=1", "one of: none"),
        ("metric", "parc:pca=3.5", '"3.5" is not valid for pca of metric parc; expected an integer'),
        ("metric", "parc:cosine=yes", "expected true or false"),
        ("metric", "parc:pca=3,pca=4", '"pca" is given twice'),
        ("metric", "parc:pca", '"pca" in "parc:pca" is not key=value'),
        ("metric", "parc:pca=3,", "is not key=value"),
        ("metric", "parc:=3", "is not key=value"),
        ("weighting", "p=", "is not key=value"),
        ("weighting", "p=2:", 'no weighting "p=2"'),
        ("weighting", "p=nan", "expected a number"),
        ("weighting", "p=two", "expected a number"),
        ("weighting", "softmax", "weighting softmax needs T; write softmax:T=…"),
        ("weighting", "inverse:form=both", "one of: reciprocal, complement"),
        ("weighting", "file", "weighting file needs a path"),
        ("weighting", "file:", "weighting file needs a path"),
        ("weighting", " file: ", "weighting file needs a path"),
    ],
)
def test_a_wrong_spec_names_the_right_ones(kind: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        specs.resolve(kind, text)


def example(
    inputs: list[float],
    *,
    ratio: float = 0.5,
    count: int = 3,
    on: bool = False,
    few: int | None = None,
    form: Literal["a", "b"] | None = None,
    level: Literal[1, 2] = 1,
    note: str = "",
) -> int:
    """A method with a parameter of every kind."""
    return len(inputs) + count + bool(few) + on + len(note) + level + bool(form) + bool(ratio)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES, "example", {"example": Entry(f"{__name__}:example", "for the tests")})


PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "ratio": st.floats(allow_nan=False),
        "count": st.integers(-(2**63), 2**63 - 1),
        "on": st.booleans(),
        "few": st.integers(-(2**63), 2**63 - 1),
        "form": st.sampled_from(["a", "b"]),
        "level": st.sampled_from([1, 2]),
        "note": st.text("abc .:=-_äß", min_size=1).filter(lambda text: text == text.strip()),
    },
)


@pytest.mark.usefixtures("table")
@settings(deadline=None)
@given(PARAMS)
def test_the_canonical_spec_resolves_to_the_same_method(params: dict[str, Any]) -> None:
    method = specs.Method("example", params, example)
    again = specs.resolve("example", method.spec)
    defaults = {"ratio": 0.5, "count": 3, "on": False, "level": 1, "note": ""}
    assert defaults | params == defaults | again.params
    assert again.spec == method.spec


@pytest.mark.usefixtures("table")
def test_optional_and_literal_parameters_are_converted() -> None:
    method = specs.resolve("example", "example:few=4,form=b,level=2")
    assert method.params == {"few": 4, "form": "b", "level": 2}
    assert specs.resolve("example", "example:form=none,few=None").params == {"few": None, "form": None}
    with pytest.raises(UsageError, match="one of: 1, 2"):
        specs.resolve("example", "example:level=3")
    with pytest.raises(UsageError, match="one of: a, b"):
        specs.resolve("example", "example:form=c")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("p=12", "power"),
        ("p=12.0000001", "power:p=12.0000001"),
        ("p=1e20", "power:p=1e+20"),
        ("p=inf", "power:p=inf"),
        ("topk:p=3,k=5", "topk:p=3"),
        ("file: a.json", "file: a.json"),
    ],
)
def test_canonical_spec_drops_only_defaults(text: str, spec: str) -> None:
    assert specs.resolve("weighting", text).spec == spec


@pytest.mark.parametrize("kind", ["metric", "weighting"])
@settings(deadline=None, max_examples=200)
@given(
    text=st.text(max_size=30)
    | st.from_regex(r"\A\s?(parc|power|topk|file|p)?[:=,]{0,2}(pca|p|k)?=?[-0-9a-z.,]{0,6}\s?\Z")
)
def test_any_text_is_a_method_or_a_usage_error(kind: str, text: str) -> None:
    try:
        method = specs.resolve(kind, text)
    except UsageError:
        return
    assert specs.resolve(kind, method.spec).spec == method.spec


def test_provider_precedes_the_first_colon() -> None:
    assert specs.provider("data provider", "folder:C:/pets") == ("folder", "C:/pets")
    for text in ("folder", "folder:", ":x", "pets/train"):
        with pytest.raises(UsageError, match=r"has no provider|no data provider"):
            specs.provider("data provider", text)
    with pytest.raises(UsageError, match="did you mean folder"):
        specs.provider("data provider", "foldr:x")
