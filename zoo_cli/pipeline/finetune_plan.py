"""The options of fine-tuning, checked against one another, and the streams and lengths of its runs."""

from dataclasses import replace

from zoo_cli.config import Config
from zoo_cli.errors import ParameterError
from zoo_cli.pipeline import best, training_task
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.ranking_spec import RankingSpec
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.streams import IndexStreams, make_streams
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining, TrainingConfig


def check_options(
    settings: Config, config: FinetuneConfig, training: TrainingConfig, paths: RunPaths
) -> tuple[ResolvedTraining, RankingSpec | None]:
    """The training options, and the ranking if a model is `best`; checked before anything is computed."""
    if training.unlabelled_from != "all" and not config.uses_unlabelled:
        raise ParameterError("`unlabelled_from` belongs to `objective` fixmatch", "drop it")
    if config.freeze and training.recalibrate:
        raise ParameterError("`recalibrate` would change the body that `freeze` body keeps", "drop one of them")
    if config.rates and training.lr is not None:
        raise ParameterError("`rates` and `lr` cannot be combined", "drop one of them")
    if config.rates:
        training = replace(training, lr=config.rates[0])
    resolved = training.resolve(config.entry)
    ranking = best.parse_best(config.sources, config.metric)
    best.check_models(settings, config.sources)
    training_task.check_device(resolved)
    paths.resolve(settings, config.sources)  # one run for each source, best among them
    return resolved, ranking


def load_streams(config: FinetuneConfig, task: TrainingTask, seed: int) -> IndexStreams:
    """The streams of a run: labelled images, and half unlabelled ones with fixmatch."""
    return make_streams(task.images, task.training, seed, labelled=True, unlabelled=config.uses_unlabelled)


def count_steps(task: TrainingTask, streams: IndexStreams) -> LoopOptions:
    """The options of a run with its number of steps: an epoch is a pass over the unlabelled images, if used."""
    labelled_size, unlabelled_size = streams.batch_sizes
    rows = streams.unlabelled if unlabelled_size else streams.labelled
    return task.training.loop_options(len(rows), unlabelled_size or labelled_size)
