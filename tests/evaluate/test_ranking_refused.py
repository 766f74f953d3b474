"""zoo evaluate ranking: what is left out with a warning, and what is refused."""

from pathlib import Path

import pytest

from tests.evaluate.test_ranking import ACCURACIES, SCORES, of_metrics, ranking, tables, write, write_run
from tests.workspaces import run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_columns_without_scores_are_ignored() -> None:
    both = write(
        "both.csv",
        "source,target,accuracy,,parc,provider\n"
        "a,pets,0.5,0,1.0,timm\n"
        "b,pets,0.7,1,2.0,timm\n"
        "@student,pets,0.1,2,9.0,timm\n",
    )
    result = run("evaluate", "ranking", both, both, "--json")
    assert result.code == 0, result.err
    assert [row["metric"] for row in of_metrics(result.data, "metrics")] == ["parc"]
    assert result.data["targets"][0]["sources"] == 2
    assert "columns that do not hold numbers are not scores: provider" in result.err


def test_what_only_one_side_has_is_left_out() -> None:
    scores, accuracies = tables(
        SCORES + "d,pets,0.9,-1\na,cars,1,1\n", ACCURACIES + "e,pets,0.1\na,planes,0.3\nb,planes,0.4\n"
    )
    result = run("evaluate", "ranking", scores, accuracies, "--json")
    assert result.code == 0, result.err
    assert "1 sources have an accuracy and no score, and are left out: e (pets)" in result.err
    assert "1 sources have a score and no accuracy, and are left out: d (pets)" in result.err
    assert "1 targets have scores and no accuracies, and are left out: cars" in result.err
    assert "1 targets have accuracies and no scores, and are left out: planes" in result.err
    for part in ("metrics", "targets"):
        rows, expected = of_metrics(result.data, part), of_metrics(ranking(*tables()), part)
        without_prior = [
            [{key: value for key, value in row.items() if "prior" not in key} for row in side]
            for side in (rows, expected)
        ]
        assert without_prior[0] == without_prior[1]


@pytest.mark.parametrize(
    ("scores", "accuracies", "code", "message"),
    [
        ("parc\n1\n", None, 3, "scores.csv has no column source"),
        ("source,target\na,pets\n", None, 3, "scores.csv has no scores"),
        ("source,target,parc\na,pets,inf\n", None, 3, "column parc, row 1, is not finite"),
        (SCORES + "b,pets,1,1\n", None, 3, "the score of b by parc for pets occurs twice"),
        ("source,Parc,PARC\na,1,2\n", None, 3, "scores.csv has two columns parc"),
        ("source,metric,value\na,,1\n", None, 3, "no metric in row 1"),
        ("source,metric,value\na,parc,high\n", None, 3, '"high" in column value, row 1, is not a number'),
        ("source,target,parc\na,pets\n", None, 3, "2 cells where the header has 3"),
        ("", None, 3, "scores.csv has no rows"),
        ("source,parc\na,1\nb,2\n", None, 2, "SCORES name no target, the other side 2; add a column target"),
        ("source,target,parc\na,cars,1\n", None, 2, "SCORES are for cars, ACCURACIES for birds, pets"),
        ("source,target,parc\nx,pets,1\ny,pets,1\n", None, 2, "without an accuracy: x, y; without a score: a, b, c"),
        (None, "source,target,top1\na,pets,1\n", 3, "accuracies.csv has no column accuracy"),
        (None, "source,target,accuracy\na,pets,best\n", 3, '"best" in column accuracy, row 1, is not a number'),
        (None, "source,target,accuracy\n,pets,1\n", 3, "no source in row 1"),
        (
            None,
            ACCURACIES + "b,pets,0.7\n",
            3,
            "the accuracy of b for pets occurs 2 times; tell repetitions apart by a column seed",
        ),
        (None, "source,accuracy\na,1\nb,0\n", 2, "ACCURACIES name no target, the other side 2"),
        (None, '"source,accuracy\n', 3, "not a CSV file in UTF-8: a quote is not closed"),
        (None, 'source,accuracy\na,"1\nb,2\n', 3, "not a CSV file in UTF-8: a quote is not closed"),
        (None, 'source,accuracy\n\n"a\nb",1\nc,2,3\n', 3, "(accuracies.csv, line 5)"),
    ],
)
def test_unusable_tables_are_refused(scores: str | None, accuracies: str | None, code: int, message: str) -> None:
    result = run("evaluate", "ranking", *tables(scores if scores is not None else SCORES, accuracies or ACCURACIES))
    assert message in result.error
    assert result.code == code


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("nothing.csv", "accuracies.csv"), "no file or folder nothing.csv"),
        ((".", "accuracies.csv"), "no scores in .; zoo score makes them"),
        (("notes.txt", "accuracies.csv"), "notes.txt is not a table; its name must end in .csv or .parquet"),
        (("scores.csv", "nothing"), "no runs in nothing; zoo distill --each-source makes them"),
        (("scores.csv", "empty"), "no runs in empty"),
        (("scores.csv", "unfinished"), "no finished run in unfinished learned from one source"),
    ],
)
def test_paths_of_nothing_are_refused(tmp_path: Path, paths: tuple[str, str], message: str) -> None:
    tables()
    write("notes.txt", "none")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "unfinished" / "a", 1, {"a": 1.0}, finished=False)
    result = run("evaluate", "ranking", *paths)
    assert result.code == 2
    assert message in result.error


@pytest.mark.parametrize(
    "content", ["[]", '{"objective": "cross-task"}', '{"objective": "supervised", "weights": [1]}']
)
def test_foreign_run_record_is_refused(tmp_path: Path, content: str) -> None:
    tables()
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text(content)
    result = run("evaluate", "ranking", "scores.csv", "runs")
    assert result.code == 3
    assert "run.json" in result.error
    assert "make the run again with --overwrite" in result.error
