"""What `zoo tune` answers: tune.json, with every candidate, its gain over labels only and why it was dropped."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zoo_cli.config import Config
from zoo_cli.errors import ContractError
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import TAIL, SearchResult
from zoo_cli.pipeline.tune_candidates import Candidate
from zoo_cli.store import files
from zoo_cli.store.provenance import Inputs

DOCUMENT = "tune.json"


def search_folder(settings: Config) -> Path:
    """The folder of the trials of a search and of its result."""
    return settings.labels_root / "tune"


@dataclass(frozen=True)
class CandidateRow:
    """One candidate: what it sets, its mean accuracy on held-out labels, and its mean gain over labels only on the
    same splits, with the ends of the interval that all candidates share. None: labels only itself, or diverged.

    `dropped_after`: the number of splits after which it was dropped, for `reason`; None if it was not.
    """

    candidate: str
    objective: str
    lam: float | None
    lr: float | None
    augment: str | None
    pool: str | None
    weighting: str | None
    splits: int
    accuracy: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    dropped_after: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TuneRecord:
    """The result of a search. `chosen`: the candidate that is certain to gain, else labels only; `best`: the one with
    the greatest gain of those that were not dropped, None without any.

    `labels`: the number of labelled images; `held_out`: that of each split; `steps`: of every run; `rows`: labels only
    first, then by gain; `accuracies`: by candidate, of each split.
    """

    chosen: str
    best: str | None
    labels: int
    held_out: Sequence[int]
    steps: int
    rows: Sequence[CandidateRow]
    accuracies: Mapping[str, Sequence[float]]

    @property
    def gain_of_best(self) -> CandidateRow | None:
        """The row of the best candidate."""
        return next((row for row in self.rows if row.candidate == self.best), None)


def describe_search(
    result: SearchResult, candidates: Sequence[Candidate], labels: int, held_out: Sequence[int], steps: int
) -> TuneRecord:
    """The record of a search. `candidates`: labels only among them; `held_out`: the images of each split."""
    drops = {drop.candidate: drop for drop in result.dropped}
    rows = []
    for each in candidates:
        accuracies, gain, drop = result.accuracies[each.name], result.gains.get(each.name), drops.get(each.name)
        rows.append(
            CandidateRow(
                each.name,
                each.objective,
                each.lam,
                each.lr,
                each.augment,
                each.pool,
                each.weighting,
                splits=len(accuracies),
                accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
                gain=None if gain is None else gain.mean,
                low=None if gain is None else gain.low,
                high=None if gain is None else gain.high,
                dropped_after=None if drop is None else drop.splits,
                reason=None if drop is None else drop.reason,
            )
        )
    rows.sort(key=lambda row: (row.candidate != LABELS_ONLY, -(row.gain if row.gain is not None else -2.0)))
    return TuneRecord(result.chosen, result.best, labels, tuple(held_out), steps, tuple(rows), result.accuracies)


def write_record(path: Path, record: TuneRecord, inputs: Inputs) -> None:
    """Write tune.json."""
    files.write_json(path, {**asdict(record), "tail": TAIL, "inputs": dict(inputs)})


def load_record(path: Path, candidates: Collection[str]) -> TuneRecord:
    """The record in a tune.json of a search among these candidates. Raises ContractError for another content."""
    content = files.read_json(path)
    try:
        values: dict[str, Any] = {field.name: content[field.name] for field in fields(TuneRecord)}
        record = TuneRecord(**{**values, "rows": tuple(CandidateRow(**row) for row in values["rows"])})
        if {row.candidate for row in record.rows} == set(candidates) and record.chosen in candidates:
            return record
    except (TypeError, KeyError):
        pass
    raise ContractError(f"{path} is not a record of this search", "zoo tune --overwrite makes it again")
