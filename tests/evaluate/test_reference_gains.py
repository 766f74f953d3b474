"""zoo evaluate ranking --reference, and the controls: the arithmetic on small tables, and slow references."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.workspaces import make, run
from zoo_cli.evaluation import controls, reference_gains
from zoo_cli.evaluation.reference_gains import expected_best

SCORES = """source,target,parc,depth
general,pets,0.1,18
birds,pets,0.3,18
cats,pets,0.4,50
general,cars,0.2,18
birds,cars,0.3,18
cats,cars,0.1,50
general,flowers,0.2,18
birds,flowers,0.9,18
cats,flowers,0.1,50
"""
ACCURACIES = """source,target,accuracy
general,pets,0.6
birds,pets,0.5
cats,pets,0.8
general,cars,0.7
birds,cars,0.5
cats,cars,0.6
general,flowers,0.5
birds,flowers,0.9
cats,flowers,0.7
"""


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    for name, text in (("scores", SCORES), ("accuracies", ACCURACIES)):
        (tmp_path / f"{name}.csv").write_text(text)
    return str(tmp_path / "scores.csv"), str(tmp_path / "accuracies.csv")


def ranking(*arguments: str) -> Any:
    result = run("evaluate", "ranking", *arguments, "--json")
    assert result.code == 0, result.err
    return result.data


def row_of(rows: list[dict[str, Any]], metric: str, **keys: str) -> dict[str, Any]:
    return next(
        row for row in rows if row["metric"] == metric and all(row[key] == value for key, value in keys.items())
    )


def test_gains_of_each_target(paths: tuple[str, str]) -> None:
    data = ranking(*paths, "--reference", "general", "--top", "2")
    pets = row_of(data["targets"], "parc", target="pets")
    assert [pets[f"gain_{name}"] for name in ("first", "top", "best")] == pytest.approx([0.2, 0.2, 0.2])
    assert (pets["gain_gaining"], pets["gain_sources"]) == (1, 3)
    cars = row_of(data["targets"], "parc", target="cars")
    assert [cars[f"gain_{name}"] for name in ("first", "top", "best")] == pytest.approx([-0.2, 0.0, 0.0])
    mean = row_of(data["metrics"], "parc")
    assert [mean[f"gain_{name}"] for name in ("first", "top", "best")] == pytest.approx([0.4 / 3, 0.2, 0.2])
    assert mean["gain_caught"] == pytest.approx(1.0)
    assert mean["gain_gaining"] == pytest.approx((1 + 0 + 2) / 9)
    firsts = np.array([0.2, -0.2, 0.4])
    reach = stats.t.ppf(0.95, 2) * firsts.std(ddof=1) / 3**0.5
    assert (mean["gain_first_low"], mean["gain_first_high"]) == pytest.approx(
        (firsts.mean() - reach, firsts.mean() + reach)
    )
    assert mean["trials"] == pytest.approx((1 + 2 + 1) / 3)


def test_random_choice_gains_the_mean(paths: tuple[str, str]) -> None:
    data = ranking(*paths, "--reference", "general", "--top", "2")
    pets = row_of(data["targets"], "random", target="pets")
    assert pets["gain_first"] == pytest.approx((0 - 0.1 + 0.2) / 3)
    assert pets["gain_top"] == pytest.approx((0 + 0.2 + 0.2) / 3)
    assert [row_of(data["metrics"], "random")[name] for name in ("spearman", "pearson", "kendall")] == [0, 0, 0]


def test_prior_is_the_accuracy_on_other_targets(paths: tuple[str, str]) -> None:
    data = ranking(*paths)
    row = row_of(data["targets"], "prior", target="pets")
    points = dict(zip(row["point_sources"], row["point_scores"], strict=True))
    centred = {"general": (0.1 - 0.2) / 2, "birds": (-0.1 + 0.2) / 2, "cats": 0.0}
    assert points == pytest.approx(centred)
    assert row["control"]
    assert not row_of(data["targets"], "parc", target="pets")["control"]
    against = row_of(data["metrics"], "parc")
    differences = [
        row_of(data["targets"], "parc", target=target)["spearman"]
        - row_of(data["targets"], "prior", target=target)["spearman"]
        for target in ("pets", "cars", "flowers")
    ]
    assert against["prior_difference"] == pytest.approx(np.mean(differences))
    assert row_of(data["metrics"], "depth")["prior_difference"] is None, "depth is a control"


def test_prior_orders_as_plain_means_where_nothing_is_missing() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((4, 6)) + np.arange(4)[:, None]
    accuracies = {f"t{t}": {f"s{s}": float(table[t, s]) for s in range(6)} for t in range(4)}
    for t, (target, row) in enumerate(controls.prior_scores(accuracies).items()):
        plain = np.delete(table, t, axis=0).mean(axis=0)
        assert target == f"t{t}"
        assert np.corrcoef(plain, [*row.values()])[0, 1] == pytest.approx(1)


def test_metric_that_follows_the_truth_beats_the_prior(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines, accuracies = ["source,target,good,noise"], ["source,target,accuracy"]
    for target in range(8):
        for source, accuracy in enumerate(rng.random(10)):
            lines.append(f"s{source},t{target},{accuracy:.6f},{rng.random():.6f}")
            accuracies.append(f"s{source},t{target},{accuracy:.6f}")
    for name, rows in (("scores", lines), ("accuracies", accuracies)):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    paths = [str(tmp_path / "scores.csv"), str(tmp_path / "accuracies.csv")]
    data = ranking(*paths)
    assert row_of(data["metrics"], "good")["beats_prior"] is True
    assert row_of(data["metrics"], "noise")["beats_prior"] is False
    shown = run("evaluate", "ranking", *paths, "--format", "table").out
    assert "not shown to be better than the prior: noise\n" in shown


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_expected_best_is_the_mean_over_all_orders_of_ties(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        values = rng.integers(0, 3, 6).astype(float)
        values[rng.random(6) < 0.3] = np.nan
        outcomes = rng.normal(size=6)
        keys = np.where(np.isnan(values), -np.inf, values)
        orders = [
            o for o in itertools.permutations(range(6)) if all(keys[a] >= keys[b] for a, b in itertools.pairwise(o))
        ]
        expected = np.mean([outcomes[list(order[:count])].max() for order in orders])
        assert expected_best(values, outcomes, count) == pytest.approx(expected)


def test_nothing_is_caught_where_nothing_gains() -> None:
    gain = reference_gains.reference_gain(np.array([1.0, 2.0]), np.array([0.4, 0.5]), 0.6, 3)
    mean = reference_gains.mean_gain([gain])
    assert (mean.caught, mean.gaining, mean.first_low) == (None, 0, None)
    assert mean.best == pytest.approx(-0.1)


def test_tables_name_the_reference_and_every_target(paths: tuple[str, str]) -> None:
    for form in ("table", "md"):
        text = run("evaluate", "ranking", *paths, "--reference", "general", "--format", form).out
        assert "gain over general, points, means over targets" in text
        assert "gain over general by target, points: first choice, best of top 3" in text
        assert "…" not in text


def test_unknown_reference_and_top_are_one_line(paths: tuple[str, str]) -> None:
    unknown = run("evaluate", "ranking", *paths, "--reference", "generl")
    assert unknown.code == 2
    assert 'no source with an accuracy "generl"' in unknown.error
    assert "did you mean general?" in unknown.error
    assert run("evaluate", "ranking", *paths, "--top", "0").code == 2


def test_reference_without_some_target_is_warned_of(paths: tuple[str, str]) -> None:
    file = Path(paths[1])
    file.write_text(file.read_text().replace("general,cars,0.7\n", ""))
    result = run("evaluate", "ranking", *paths, "--reference", "general", "--json")
    assert "general has no accuracy for cars: no gains there" in result.err
    assert row_of(result.data["metrics"], "parc")["gain_targets"] == 2


def test_workspace_gives_sizes_and_heads_as_rows(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    assert run("pseudo-label", "--head", "ridge", workspace=workspace).code == 0
    (tmp_path / "accuracies.csv").write_text("source,accuracy\nalpha,0.5\nbeta,0.7\ngamma,0.6\n")
    data = ranking(str(workspace), str(tmp_path / "accuracies.csv"))
    sizes = row_of(data["targets"], "params")
    assert dict(zip(sizes["point_sources"], sizes["point_scores"], strict=True)) == {
        "alpha": 260,
        "beta": 176,
        "gamma": 236,
    }
    head = row_of(data["targets"], "head:ridge")
    assert all(score < 0 for score in head["point_scores"])
    assert not head["control"]
