"""The stages of `zoo plan` and `zoo status`: command lines without the workspace, parsed by the commands' own flags."""

import functools
import inspect
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import typer

from zoo_cli import registry, specs
from zoo_cli.command_table import COMMANDS
from zoo_cli.commands import distill, finetune
from zoo_cli.commands.options import shared_flags
from zoo_cli.commands.training_flags import flag_name, naming_flags
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.distill_config import CrossTaskConfig
from zoo_cli.pipeline.metric_specs import parse_metric
from zoo_cli.pipeline.plan_stages import SEARCH, PoolRequest, Stage
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.registry import import_target
from zoo_cli.shards import AUTO, Shard, parse_shard
from zoo_cli.training.training_config import TrainingConfig

CHOSEN = {
    "split": (),
    "extract": ("source",),
    "score": ("source",),
    "pseudo-label": ("source",),
    "distill": ("seed", "weighting", "draws", "each_source"),
    "finetune": ("source", "seed"),
    "tune": ("seed",),
}
"""The commands of which a plan can consist, with the parameters of which each unit has its own."""
REFUSED = {
    "split": ("train", "test", "unlabelled", "follow_links"),
    "extract": ("train", "gradients", "projection", "views", "augment"),
    "score": ("features", "reference", "manifest", "out"),
    "pseudo-label": ("features", "out", "output", "views", "show"),
    "distill": ("manifest", "pseudo", "scores"),
    "finetune": ("manifest", "metric"),
    "tune": (),
}
"""Parameters whose output is not where a plan looks for it."""
REFUSED_ALL = ("workspace", "labels", "out", "name", "runs", "overwrite", "dry_run", "form", "json")


@dataclass(frozen=True)
class _Parsed:
    """The flags of a command line: the values of all parameters, and the typed words by parameter, in their order."""

    values: Mapping[str, Any]
    words: Mapping[str, tuple[str, ...]]

    def others(self, without: Collection[str]) -> tuple[str, ...]:
        """The typed words, without those of some parameters."""
        return tuple(word for name, words in self.words.items() if name not in without for word in words)


def parse_stages(texts: Sequence[str], seeds: Sequence[int]) -> tuple[Stage, ...]:
    """The stages of command lines without `zoo`. `seeds`: of the training stages that name none.

    Raises UsageError for an unknown command, and for a flag that no plan can have.
    """
    with naming_flags():
        return tuple(_parse_stage(text, tuple(seeds)) for text in texts)


def _parse_stage(text: str, seeds: tuple[int, ...]) -> Stage:
    try:
        command, *words = shlex.split(text)
    except ValueError:
        raise UsageError(
            f'--stage "{text}" is not a command', "write a command and its flags, quotes in pairs"
        ) from None
    if command not in CHOSEN:
        raise specs.nearest("stage", command, CHOSEN)
    parsed = _parse_words(command, words)
    for name in parsed.words:
        if name in (*REFUSED_ALL, *REFUSED[command]):
            raise UsageError(f"{flag_name(name)} cannot be used in a stage: {text}", "drop it")
    values = parsed.values
    stage = Stage(
        command,
        parsed.others(CHOSEN[command]),
        shlex.join([command, *parsed.others(("seed",))]),
        shard=_parse_shard(values, text),
    )
    if command in ("distill", "finetune"):
        config = (distill if command == "distill" else finetune).read_config(values)
        options = _training_options(values)
        if command == "finetune":
            del options["lr"]  # its rates are in the config
        if isinstance(config, CrossTaskConfig) and config.each_source:
            stage = replace(stage, words=parsed.others((*CHOSEN[command], "source")))
        typed_seeds = tuple(values["seed"] or ())
        return replace(stage, config=config, training=TrainingConfig(**options), seeds=typed_seeds or seeds)
    sources = tuple(values.get("source") or ())
    if command == SEARCH:
        search = TuneConfig(values["candidates"], values["budget"], sources, values["student"])
        searched = seeds if values["seed"] is None else (values["seed"],)
        return replace(stage, config=search, training=TrainingConfig(**_training_options(values)), seeds=searched)
    if command == "score":
        return _parse_score(replace(stage, sources=sources, seed=values["seed"]), values)
    if command == "pseudo-label" and values["head"] is not None:
        pool = PoolRequest(values["head"], values["pool"] or registry.DEFAULT_POOL, values["with_student"])
        return replace(stage, sources=sources, pool=pool)
    return replace(stage, sources=sources)


def _training_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of training, by field of TrainingConfig."""
    return {field.name: values[field.name] for field in fields(TrainingConfig) if field.name in values}


def _parse_shard(values: Mapping[str, Any], text: str) -> Shard:
    """The shard of a stage, which each of its units makes. Raises UsageError for the number of a task of an array."""
    shard = values.get("shard")
    if shard == AUTO:
        raise UsageError(
            f"--shard auto cannot be used in a stage: {text}",
            "the tasks of an array are its units; write a stage for each shard: --shard 1/2, --shard 2/2",
        )
    if shard is not None and values.get("head") is not None:
        raise UsageError(f"--shard cannot be used with --head: {text}", "drop one of them")
    return parse_shard(shard)


def _parse_score(stage: Stage, values: Mapping[str, Any]) -> Stage:
    """A stage of scores; without a metric, of the one by which sources are ranked and weighed."""
    texts = values["metric"] or [registry.DEFAULT_METRIC]
    if not values["metric"]:
        default = ("--metric", registry.DEFAULT_METRIC)
        stage = replace(stage, words=(*default, *stage.words), text=f"{stage.text} {shlex.join(default)}")
    metrics = tuple(parse_metric(text, values["on"]) for text in texts)
    if any("reference" in metric.entry.needs for metric in metrics):
        raise UsageError("rsa-ref needs --reference, which a stage cannot have", "run zoo score by itself")
    return replace(stage, metrics=metrics)


def _parse_words(command: str, words: Sequence[str]) -> _Parsed:
    """The flags of a command, by its own parser."""
    function = import_target(COMMANDS[command])
    signature = inspect.signature(function)
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in shared_flags(command, signature.parameters).items()
    ]
    parameters = [
        # A stage of fine-tuning without a model is of all sources.
        parameter.replace(default=None, annotation=Annotated[list[str] | None, typer.Argument()])
        if (command, parameter.name) == ("finetune", "source")
        else parameter
        for parameter in signature.parameters.values()
    ]
    values: dict[str, Any] = {}

    @functools.wraps(function)
    def collect(**parsed: Any) -> None:
        values.update(parsed)

    collect.__signature__ = signature.replace(parameters=[*parameters, *extra])  # type: ignore[attr-defined]
    collect.__annotations__ = {each.name: each.annotation for each in (*parameters, *extra)}
    parser = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    parser.command()(collect)
    program = typer.main.get_command(parser)
    context = program.make_context(f"zoo {command}", list(words))
    program.invoke(context)
    typed = {
        parameter.name: _spell(parameter, context.params[parameter.name])
        for parameter in program.params
        if parameter.name and context.get_parameter_source(parameter.name).name == "COMMANDLINE"  # type: ignore[union-attr]
    }
    return _Parsed(values, typed)


def _spell(parameter: Any, value: Any) -> tuple[str, ...]:
    """The words that give a parameter its value."""
    items = value if isinstance(value, list | tuple) else [value]
    if parameter.param_type_name == "argument":
        return tuple(map(str, items))
    flag = max(parameter.opts, key=len)
    if parameter.is_flag:
        return (flag,)
    texts = [repr(item).removesuffix(".0") if isinstance(item, float) else str(item) for item in items]
    return tuple(word for text in texts for word in (flag, text))
