"""A question, one metric on one representation, and the rows that answer it, one a source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, registry, specs
from zoo_cli.errors import Undefined, UsageError
from zoo_cli.pipeline import ensemble_choice, metric_inputs
from zoo_cli.registry import METRICS
from zoo_cli.specs import Method
from zoo_cli.store import files, schemas

if TYPE_CHECKING:
    from zoo_cli.metrics.labels import Classes
    from zoo_cli.ranking.uncertainty import Replicates


@dataclass(frozen=True)
class MetricSpec:
    """A metric, resolved, and the representation it is asked on."""

    method: Method
    on: str

    @property
    def facts(self) -> registry.Metric:
        """The metric's entry in the table."""
        return METRICS[self.method.name]

    @property
    def name(self) -> str:
        """The name of its file: the spec, and the representation where it is not the metric's own."""
        text = self.method.spec.replace(":", "-").replace(",", "-")
        return text if self.on == self.facts.on[0] else f"{text}-{self.on}"


def parse_metric(spec: str, on: str | None, *, strict: bool = True) -> MetricSpec:
    """The question that --metric and --on put. Raises UsageError for a representation the metric does not read.

    Not `strict`: a metric that does not read it is asked on its own representation.
    """
    method = specs.resolve("metric", spec)
    accepted = METRICS[method.name].on
    if on is not None and on not in ("features", "probs"):
        raise UsageError(f'no representation "{on}"', "features or probs")
    if on is not None and on not in accepted and strict:
        raise UsageError(f"{method.name} reads {' or '.join(accepted)}, not {on}", f"leave --on {on} out")
    return MetricSpec(method, on if on in accepted else accepted[0])


def needed_inputs(questions: Sequence[MetricSpec]) -> tuple[str, ...]:
    """The further arrays that they read, each once."""
    return tuple(dict.fromkeys(need for question in questions for need in question.facts.needs))


def is_reported(question: MetricSpec, rows: Sequence[Mapping[str, Any]], strict: bool) -> bool:
    """Whether a question keeps its place: not where it was not asked for and no source has what it needs."""
    if not strict and question.facts.needs and all(row["status"] == "skipped" for row in rows):
        return False
    for row in rows:
        if row["status"] == "skipped":
            console.say(f"{row['source']} is left out of {question.method.spec}: {row['reason']}")
    return True


def score_source(
    origin: metric_inputs.SourceOutputs,
    questions: Sequence[MetricSpec],
    target: "Classes",
    drawn: "Replicates",
    seed: int,
) -> list[dict[str, Any]]:
    """The answers of one source to all questions, in their order: one probe a representation."""
    from zoo_cli.ranking import uncertainty

    answers: dict[int, dict[str, Any]] = {}
    for on in dict.fromkeys(question.on for question in questions):
        asked = {i: question for i, question in enumerate(questions) if question.on == on}
        try:
            probe, missing = metric_inputs.load_probe(origin, target, on, needed_inputs(list(asked.values())))
        except metric_inputs.MissingInput as absent:
            answers |= {i: _skipped(origin.name, question, len(target), absent.reason) for i, question in asked.items()}
            continue
        for i, question in list(asked.items()):
            reasons = [missing[need] for need in question.facts.needs if need in missing]
            if question.facts.distribution and origin.output == "sigmoid":
                reasons.append("its outputs are no distribution over its classes")
            if reasons:
                answers[i] = _skipped(origin.name, asked.pop(i), len(target), reasons[0])
        methods = [(question.method, question.facts) for question in asked.values()]
        found = uncertainty.estimate_scores(methods, probe, seed=seed, replicates=drawn)
        for (i, question), one in zip(asked.items(), found, strict=True):
            row = _blank(origin.name, question, len(target))
            row |= {"dim": probe.matrix.width, "classes": len(target.counts)}
            if isinstance(one, Undefined):
                answers[i] = row | {"status": "undefined", "reason": one.reason}
                continue
            shown = {key: getattr(one, key) for key in ("value", "low", "high", "chance", "reason", "ceiling")}
            draws = None if one.draws is None else one.draws.tolist()
            part = ensemble_choice.member_part(question.facts, probe, drawn)
            answers[i] = row | shown | {"draws": draws, "flags": ",".join(one.flags) or None, "part": part}
    return [answers[i] for i in range(len(questions))]


def _skipped(name: str, question: MetricSpec, count: int, reason: str) -> dict[str, Any]:
    return _blank(name, question, count) | {"status": "skipped", "reason": reason}


def _blank(name: str, question: MetricSpec, count: int) -> dict[str, Any]:
    params = question.method.spec.partition(":")[2]
    told = {"source": name, "metric": question.method.name, "params": params, "representation": question.on}
    empty = dict.fromkeys(("value", "low", "high", "chance", "reason", "ceiling", "flags", "draws"))
    return {**told, "n": count, "dim": 0, "classes": 0, **empty, "status": "ok"}


def write_scores(path: Path, results: Sequence[Mapping[str, Any]], made_from: Mapping[str, Any]) -> None:
    """Store the scores of one metric."""
    import pyarrow as pa

    kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "list<double>": pa.list_(pa.float64())}
    arrow = pa.schema([(column.name, kinds[column.type]) for column in schemas.SCORES.columns])
    ordered = [{column.name: row.get(column.name) for column in schemas.SCORES.columns} for row in results]
    files.write_table(path, pa.Table.from_pylist(ordered, schema=arrow), schemas.SCORES, made_from)
