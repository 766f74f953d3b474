"""How accurate and how well calibrated stored predictions are."""

from dataclasses import asdict, dataclass
from pathlib import Path

from zoo_cli.evaluation import flip_statistics, named_runs
from zoo_cli.pipeline.evaluate.prediction_reader import PredictionReader


@dataclass(frozen=True)
class AccuracyConfig:
    """`models`: run folders, parquet files or models; without any, every finished run of the workspace."""

    workspace: Path
    models: tuple[str, ...] = ()
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class AccuracyRow:
    """Measures of N predictions, see `flip_statistics.prediction_quality`."""

    run: str
    n: int
    accuracy: float
    balanced_accuracy: float
    top5: float
    nll: float
    ece: float


def evaluate_accuracy(options: AccuracyConfig) -> list[AccuracyRow]:
    """A row for each run, file or model. Raises UsageError if there is none."""
    reader = PredictionReader(options.workspace, options.device, options.workers)
    rows = []
    for text in options.models or named_runs.finished_runs(options.workspace):
        stored = reader.read(text)
        quality = flip_statistics.prediction_quality(stored.labels, stored.logits)
        rows.append(AccuracyRow(named_runs.display_name(text, options.workspace), **asdict(quality)))
    return rows
