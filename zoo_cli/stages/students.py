"""The student of a training command: which model, from which weights, with a head for the task's classes."""

from dataclasses import replace
from typing import TYPE_CHECKING

from zoo_cli import config
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError

if TYPE_CHECKING:
    from zoo_cli.models.student import Student


def choose(settings: Config, spec: str | None) -> Source:
    """The model that --student names, by name or PROVIDER:NAME, else the [student] of zoo.toml."""
    if spec is not None:
        return settings.select([spec])[0]
    if settings.student is None:
        raise UsageError(f"no student: {settings.root / config.FILE} has no [student]", "add one, or --student SPEC")
    return settings.student


def build(settings: Config, chosen: Source, init: str | None, classes: tuple[str, ...], seed: int) -> "Student":
    """The student before training. With `init`, its body starts from the weights of that source.

    Raises UsageError where the source is of another architecture.
    """
    from zoo_cli.models import loading, student

    model = loading.load(chosen, settings.root, seed=seed)
    if init is not None:
        other = loading.load(settings.select([init])[0], settings.root, seed=seed)
        head = () if model.tap.head is None else (f"{model.tap.head}.",)
        body = {key: value for key, value in model.module.state_dict().items() if not key.startswith(head)}
        theirs = other.module.state_dict()
        unlike = [key for key, value in body.items() if key not in theirs or theirs[key].shape != value.shape]
        if unlike:
            raise UsageError(
                f"--init {init} is of another architecture than the student: {len(unlike)} of {len(body)} weights "
                f"do not fit, e.g. {unlike[0]}",
                "name that source as --student instead",
            )
        model.module.load_state_dict({key: theirs[key] for key in body}, strict=False)
        model = replace(model, weights_sha256=other.weights_sha256)
    return student.build(model, classes, seed)
