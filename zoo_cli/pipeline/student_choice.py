"""The models that a training command trains, checked before anything is scored, made or imported for them."""

from pathlib import Path

from zoo_cli import config, console, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.store import feature_store, weights_origin
from zoo_cli.store.model_folders import split_domain

REQUIRE_WEIGHTS = "zoo_cli.models.loading:require_weights"
REQUIRED = ("input_size", "mean", "std")
"""The keys of the preprocessing that must be known."""


def select_student(settings: Config, spec: str | None) -> Source:
    """The student by name, PROVIDER:NAME or run, else the [student] of zoo.toml, checked to be trainable."""
    if spec is not None:
        student = settings.select([run_as_model(settings, spec)])[0]
    elif settings.student is not None:
        student = settings.student
    else:
        raise ParameterError(
            f"no student: {settings.root / config.FILE} has no [student]", "add one, or give `student` SPEC"
        )
    check_trainable(settings, student, "the student")
    return student


def say_untrained(student: Source) -> None:
    """Say that a student without weights starts from random ones."""
    if weights_origin.lacks_weights(student.model, student.weights):
        console.say(f"{student.name} ({student.model}) declares no weights: it starts from random ones")


def check_source(settings: Config, source: Source) -> None:
    """Raise UsageError for a source that cannot be trained, and for one that would be random by mistake."""
    if weights_origin.lacks_weights(source.model, source.weights):
        registry.import_target(REQUIRE_WEIGHTS)(source)
    check_trainable(settings, source, f"the source {source.name}")


def run_as_model(settings: Config, spec: str) -> str:
    """`file:PATH` for a finished run, by its name or path; any other spec as it is."""
    if ":" in spec or any(spec == source.name for source in settings.models):
        return spec
    name, domain = split_domain(spec, Path())
    run = named_runs.resolve_run(Path(name), settings.root)
    return f"file:{run.as_posix()}{'#' * bool(domain)}{domain}" if (run / "config.json").is_file() else spec


def check_trainable(settings: Config, source: Source, role: str) -> None:
    """Raise UsageError for stored outputs, and for a network whose preprocessing is unknown without loading it.

    `role` names the model in the second error. Only user code, and torchvision without named weights, know nothing of
    their preprocessing; a model of another provider is checked when it is loaded.
    """
    if feature_store.is_outputs_only(source):
        raise UsageError(f"{source.name} has stored outputs only", "a student needs a network")
    provider, rest = specs.provider("model provider", source.model)
    if provider == "onnx":
        hint = "name the model that it was exported from, or use it as a source"
        raise UsageError(f"{source.name}: an ONNX file can be run, but not trained", hint)
    declared = "" if source.weights == weights_origin.RANDOM else source.weights
    named_weights = "." in rest or (declared and not (settings.root / declared).is_file())
    if provider == "python" or (provider == "torchvision" and not named_weights):
        missing = [key for key in REQUIRED if getattr(source, key) is None]
        if missing:
            raise UsageError(
                f"the preprocessing of {role} is not known: {', '.join(missing)} missing",
                f"set them in {config.FILE}, in the table of the model",
            )
