"""What `zoo expert` is about to train: the network, its domains and how long, checked before anything is written."""

from dataclasses import dataclass, replace
from pathlib import Path

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError
from zoo_cli.pipeline import student_choice, training_task
from zoo_cli.pipeline.expert_config import EXPERT, PER_DOMAIN, ExpertConfig
from zoo_cli.pipeline.expert_data import Domains, load_domains
from zoo_cli.store import weights_origin
from zoo_cli.training.round_plan import RoundPlan
from zoo_cli.training.run_paths import RunPath, RunPaths
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining, TrainingConfig

INPUT_SIZE = 224
GREY, COLOUR = ((0.449,), (0.226,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The mean and standard deviation of ImageNet, for a network whose preprocessing nothing else decides."""


@dataclass(frozen=True)
class ExpertPlan:
    """An expert to train: the network and the source `init` of its weights, the domains, and how long."""

    settings: Config
    config: ExpertConfig
    training: ResolvedTraining
    source: Source
    init: Source | None
    domains: Domains
    run: RunPath
    options: LoopOptions
    rounds: RoundPlan | None


def plan_expert(settings: Config, config: ExpertConfig, training: TrainingConfig) -> ExpertPlan:
    """Check the options, read the images, and count the steps. Raises UsageError for what cannot be trained."""
    if training.unlabelled_from != "all":
        raise ParameterError("`unlabelled_from`: an expert learns from labels alone", "drop it")
    if config.multi is not None and training.recalibrate:
        raise ParameterError("`recalibrate` is for one domain", "drop it: the domains' statistics are their own")
    resolved = training.resolve(EXPERT)
    training_task.check_device(resolved)
    (run,) = RunPaths(None, config.out, (_seed(settings, config),), config.overwrite).resolve(settings, ["expert"])
    source = _select_model(settings, config)
    init = None
    if config.init is not None:
        (init,) = settings.select([config.init])
        student_choice.check_source(settings, init)
    domains = load_domains(settings.root, config.domains, run.seed, resolved.workers)
    sizes = [len(domains.rows(number, "labelled")) for number in range(len(domains.names))]
    if config.multi is None:
        options, rounds = resolved.loop_options(sizes[0], resolved.batch_size), None
    else:
        per_domain = config.per_domain or min(PER_DOMAIN, max(sizes))
        rounds = RoundPlan.of(sizes, per_domain, resolved.batch_size, run.seed)
        options = resolved.loop_options(rounds.epoch_steps, 1)
    return ExpertPlan(settings, config, resolved, source, init, domains, run, options, rounds)


def _seed(settings: Config, config: ExpertConfig) -> int:
    return settings.task.seed if config.seed is None else config.seed


def _select_model(settings: Config, config: ExpertConfig) -> Source:
    """The network to train, its preprocessing filled in where neither the user nor its weights decide it."""
    source = settings.select([student_choice.run_as_model(settings, config.model)])[0]
    if config.input_size is not None:
        source = replace(source, input_size=config.input_size)
    if not _is_preprocessing_known(source, settings.root):
        channels = source.channels or (len(source.mean) if source.mean else 3)
        mean, std = GREY if channels == 1 else COLOUR
        source = replace(
            source,
            input_size=source.input_size or INPUT_SIZE,
            mean=source.mean or mean,
            std=source.std or std,
            channels=channels,
        )
    student_choice.check_trainable(settings, source, "the model")
    student_choice.say_untrained(source)
    return source


def _is_preprocessing_known(source: Source, root: Path) -> bool:
    """Whether the provider knows how images are prepared: it does for folders, timm, and named weights."""
    provider, rest = specs.provider("model provider", source.model)
    if provider not in ("torchvision", "python"):
        return True
    weights = "" if source.weights == weights_origin.RANDOM else source.weights
    return provider == "torchvision" and ("." in rest or bool(weights and not (root / weights).is_file()))
