"""`zoo rank`: the order of the sources, how sure it is, and the weight of each in the student."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, files, registry, schemas
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.options import (
    HERE,
    Features,
    Format,
    Json,
    Manifest,
    Metric,
    On,
    Overwrite,
    Seed,
    Sources,
    Weighting,
    Workspace,
)
from zoo_cli.stages import outputs, score

if TYPE_CHECKING:
    import numpy as np

DEFAULT_METRIC = "parc"
DEFAULT_WEIGHTING = "p=12"
NEARLY = 0.8
FIELDS = (
    console.Field("rank", style="d"),
    console.Field("source"),
    console.Field("value", "score", "score"),
    console.Field("low", style="score"),
    console.Field("high", style="score"),
    console.Field("p_best", "P(best)", ".2f"),
    console.Field("weight", style=".4f"),
    console.Field("excluded"),
)


def rank(
    metric: Metric = DEFAULT_METRIC,
    on: On = None,
    weighting: Weighting = DEFAULT_WEIGHTING,
    source: Sources = None,
    features: Features = None,
    manifest: Manifest = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="A scores file, without a zoo.toml.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the ranking goes. Default: ranking.parquet.")] = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Rank the sources, with 90 % intervals, the probability that each is best, and their weights.

    zoo rank --metric parc
    zoo rank --features a.parquet --features b.parquet --weighting nearest
    """
    settings = config.load(workspace)
    question = score.ask(metric, on)
    method = registry.resolve("weighting", weighting)
    if scores is not None:
        ranking = of_file(scores, weighting, settings)
    else:
        if features:
            rows = score.bare([question], features, manifest, settings.task.seed if seed is None else seed, None)
        else:
            rows = score.make(settings, [question], settings.select(source or []), seed=seed, overwrite=overwrite)
        ranking = order(settings, question, method, weighting, rows)
    inside = scores is None and not features
    if inside or out is not None:
        write(settings, ranking, out or settings.root / "ranking.parquet")
    answer(ranking, "json" if json else form)


@dataclass(frozen=True)
class Ranking:
    """An answered question: one row a source in order, the weighting, and where the student itself would stand."""

    question: score.Question
    weighting: str
    rows: list[dict[str, Any]]
    effective: float
    student: dict[str, Any] | None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every source."""
        return {row["source"]: row["weight"] for row in self.rows}


def make(settings: Config, metric: str, on: str | None, weighting: str, chosen: Sequence[Source]) -> Ranking:
    """The ranking of the workspace's sources, scored first where they are not."""
    question = score.ask(metric, on)
    method = registry.resolve("weighting", weighting)
    return order(settings, question, method, weighting, score.make(settings, [question], chosen))


def of_file(path: Path, weighting: str, settings: Config, among: Sequence[str] | None = None) -> Ranking:
    """The ranking of the sources in a scores file, all of them or those named."""
    rows = [
        row for row in files.read_table(path, schemas.SCORES).to_pylist() if among is None or row["source"] in among
    ]
    missing = sorted(set(among or ()) - {row["source"] for row in rows})
    if missing or not rows:
        raise ContractError(f"{path} has no score of {', '.join(missing) or 'any source'}")
    question = score.ask(_spec(rows[0]), rows[0]["representation"])
    return order(settings, question, registry.resolve("weighting", weighting), weighting, rows)


def slug(weighting: str) -> str:
    """A weighting as a part of a file name: `p2`, `nearest`, `softmax-T0.1`."""
    name, params = registry.split_spec(weighting) if not weighting.startswith("file:") else ("file", {})
    if weighting.startswith("file:"):
        return f"file-{Path(weighting).stem.removeprefix('file:')}"
    said = "-".join(f"{key}{value}" for key, value in params.items())
    return said if name == "power" and said else "-".join(part for part in (name, said) if part)


def weigh_alike(method: registry.Method, names: list[str]) -> dict[str, float]:
    """The weights of sources of which no score is known, by a weighting that needs none."""
    import numpy as np

    if method.name == "file":
        weights = weigh_file(Path(method.params["path"]), names)
    else:
        weights = np.asarray(method.function(np.ones(len(names)), names, False, **method.params))
    return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def order(
    settings: Config, question: score.Question, method: registry.Method, weighting: str, rows: Sequence[dict[str, Any]]
) -> Ranking:
    """Put scored sources in order: best first, ties together, undefined ones after them, excluded ones last."""
    import numpy as np

    from zoo_cli import selection

    student = next((row for row in rows if row["source"] == STUDENT), None)
    sources = [row for row in rows if row["source"] != STUDENT]
    barred = _barred(settings, [row["source"] for row in sources])
    ranked = [row for row in sources if row["source"] not in barred]
    values = np.array([np.nan if row["value"] is None else row["value"] for row in ranked], dtype=np.float64)
    weights = _weigh(method, values, [row["source"] for row in ranked], question)
    places = selection.competition_ranks(values)
    chances = _best(ranked)
    answered = []
    for row, place, weight in zip(ranked, places, weights, strict=True):
        known = row["value"] is not None
        reason = None if known else f"{row['status']}: {row['reason']}"
        answered.append(
            _line(row, question, int(place) if known else None, chances.get(row["source"]), float(weight), reason)
        )
    for row in sources:
        if row["source"] in barred:
            answered.append(_line(row, question, None, None, 0.0, barred[row["source"]]))
    answered.sort(key=lambda row: (row["rank"] is None, row["source"] in barred, row["rank"] or 0, row["source"]))
    return Ranking(
        question,
        weighting,
        answered,
        selection.effective_number(weights) if weights.any() else 0.0,
        _yardstick(student, values),
    )


def write(settings: Config, ranking: Ranking, path: Path) -> None:
    """The ranking and its weights, views of the last question: always replaced."""
    import pyarrow as pa

    kinds = {"int64": pa.int64(), "string": pa.string(), "double": pa.float64()}
    arrow = pa.schema([(column.name, kinds[column.type]) for column in schemas.RANKING.columns])
    asked = {"metric": ranking.question.method.spec, "on": ranking.question.on, "weighting": ranking.weighting}
    files.write_table(path, pa.Table.from_pylist(ranking.rows, schema=arrow), schemas.RANKING, asked)
    files.write_json(
        path.with_name("weights.json"),
        {
            "weighting": ranking.weighting,
            "metric": ranking.question.method.spec,
            "effective_sources": ranking.effective,
            "sources": [
                {"source": row["source"], "score": row["value"], "weight": row["weight"]} for row in ranking.rows
            ],
        },
    )
    console.detail(f"wrote {path} and {path.with_name('weights.json')} in {settings.root}")


def answer(ranking: Ranking, form: str | None) -> None:
    """Print the ranking, and below it the weighting and the student's own place."""
    notes = [f"{ranking.weighting}: {ranking.effective:.1f} effective sources of {len(ranking.rows)}"]
    student = ranking.student
    if student is not None:
        interval = "" if student["low"] is None else f" [{student['low']:.4f}, {student['high']:.4f}]"
        notes.append(
            f"{STUDENT}, the student before training: {student['value']:.4f}{interval}, would stand at "
            f"{student['rank']} of {len([row for row in ranking.rows if row['rank']]) + 1}"
            if student["value"] is not None
            else f"{STUDENT}, the student before training: {student['reason']}"
        )
    meta = {
        "metric": ranking.question.method.spec,
        "representation": ranking.question.on,
        "weighting": ranking.weighting,
        "effective_sources": ranking.effective,
        "student": student,
    }
    console.answer("zoo.rank/1", ranking.rows, FIELDS, form=form, meta=meta, notes=notes)


def weigh_file(path: Path, names: Sequence[str]) -> "np.ndarray":
    """The weights (S,) that a weights.json gives the named sources."""
    import numpy as np

    from zoo_cli.weighting import file

    told = files.read_json(path)
    rows = told.get("sources") if isinstance(told, dict) else None
    if isinstance(rows, list):
        # A weights.json of ours also lists, with weight 0, the sources that were excluded.
        absent = [
            row for row in rows if isinstance(row, dict) and row.get("weight") == 0 and row.get("source") not in names
        ]
        told = {**told, "sources": [row for row in rows if row not in absent]}
    try:
        return np.asarray(file.file(np.zeros(len(names)), list(names), False, weights=told))
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", error.hint) from None


def _weigh(method: registry.Method, values: "np.ndarray", names: list[str], question: score.Question) -> "np.ndarray":
    import numpy as np

    if not names:
        return np.zeros(0)
    if method.name == "file":
        return weigh_file(Path(method.params["path"]), names)
    if np.isnan(values).all():
        console.warn(f"no source has a {question.method.spec} score: no weights")
        return np.zeros(len(names))
    if question.facts.zero_means_none and np.nanmax(values) <= 0:
        console.warn("no positive similarity: the weights are equal")
    return np.asarray(method.function(values, names, question.facts.zero_means_none, **method.params))


def _best(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The probability that each source with replicates is the best of those."""
    import numpy as np

    from zoo_cli import selection

    drawn = [row for row in rows if row["draws"]]
    if not drawn:
        return {}
    chances = selection.best_probability(np.array([row["draws"] for row in drawn], dtype=np.float64))
    return {row["source"]: float(chance) for row, chance in zip(drawn, chances, strict=True)}


def _line(
    row: dict[str, Any],
    question: score.Question,
    place: int | None,
    chance: float | None,
    weight: float,
    excluded: str | None,
) -> dict[str, Any]:
    return {
        "rank": place,
        "source": row["source"],
        "metric": question.method.spec,
        "representation": question.on,
        "value": row["value"],
        "low": row["low"],
        "high": row["high"],
        "p_best": chance,
        "weight": weight,
        "excluded": excluded,
    }


def _yardstick(student: dict[str, Any] | None, values: "np.ndarray") -> dict[str, Any] | None:
    """Where the student's starting features would stand among the ranked sources."""
    if student is None:
        return None
    value = student["value"]
    place = None if value is None else 1 + int((values > value).sum())
    return {key: student[key] for key in ("value", "low", "high", "chance", "reason")} | {"rank": place}


def _barred(settings: Config, names: Sequence[str]) -> dict[str, str]:
    """The sources that have seen the target, each with what it was trained on. Nearly equal names are warned of."""
    if not settings.task.train and not settings.sources:
        return {}
    targets = [settings.task.name, *settings.task.aliases]
    barred, unknown = {}, []
    for name in names:
        seen = _trained_on(settings, name)
        if not seen:
            unknown.append(name)
        for data in seen:
            if data in targets:
                barred[name] = f"trained on {data}"
            elif any(difflib.SequenceMatcher(None, _bare(data), _bare(target)).ratio() >= NEARLY for target in targets):
                console.warn(
                    f'{name} was trained on "{data}", nearly the name of this task; '
                    "if it is the same data, add it to aliases in [task]"
                )
    if unknown:
        console.say(f"training data unknown: {', '.join(unknown)}")
    return barred


def _trained_on(settings: Config, name: str) -> tuple[str, ...]:
    for source in settings.sources:
        if source.name == name:
            return source.trained_on
    path = settings.features(name) / "source.json"
    return tuple(outputs.about(settings, name).get("trained_on") or ()) if path.exists() else ()


def _bare(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _spec(row: dict[str, Any]) -> str:
    return f"{row['metric']}:{row['params']}" if row["params"] else str(row["metric"])
