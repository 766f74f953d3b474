"""Which heads are fitted on which sources, and how they are pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from zoo_cli import config, registry, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.heads import fitting
from zoo_cli.pipeline.chosen_sources import name_with_sources
from zoo_cli.specs import Method
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.run_paths import MAX_NAME_BYTES


@dataclass(frozen=True)
class HeadLabelConfig:
    """Heads on the stored features of `sources`, by the specs of the tables HEADS and POOLS.

    `chosen`: the sources were named, so that their answers have a folder of their own; else they are all sources of
    zoo.toml. The student may be the last of them. `views`: stored augmented views; the heads are then fitted on all
    views of the labelled images, and answer for each.

    Raises UsageError for an unknown head or pool, parameters that are unknown or out of range, and equal names.
    """

    head: str = registry.DEFAULT_HEAD
    pool: str = registry.DEFAULT_POOL
    sources: tuple[Source, ...] = ()
    chosen: bool = False
    views: ViewSet | None = None

    def __post_init__(self) -> None:
        fitting.check_parameters(self.head_method)
        fitting.check_parameters(self.pool_method)
        if len({source.name for source in self.sources}) < len(self.sources):
            raise UsageError("two sources have the same name", "name each source once")

    @cached_property
    def head_method(self) -> Method:
        """The head, with its parameters."""
        return specs.resolve("head", self.head)

    @cached_property
    def pool_method(self) -> Method:
        """The pool, with its parameters."""
        return specs.resolve("pool", self.pool)

    @property
    def spec_slug(self) -> str:
        """Both specs as a part of a file name."""
        return f"{specs.slug(self.head)}-{specs.slug(self.pool)}"

    @property
    def slug(self) -> str:
        """Both specs as a part of a file name, with the student and chosen sources if there are any."""
        others = [source for source in self.sources if source.name != STUDENT]
        name = self.spec_slug + "-with-student" * (len(others) < len(self.sources))
        return name_with_sources(name, others, MAX_NAME_BYTES) if self.chosen else name

    @property
    def command(self) -> str:
        """The command that stores the answers, without `zoo`."""
        flags = [f"--head {self.head}"]
        if self.pool != registry.DEFAULT_POOL:
            flags.append(f"--pool {self.pool}")
        if self.chosen:
            flags += [f"--source {source.name}" for source in self.sources if source.name != STUDENT]
        if any(source.name == STUDENT for source in self.sources):
            flags.append("--with-student")
        if self.views is not None:
            flags.append(f"--views {self.views.count}")
        return " ".join(["pseudo-label", *flags])


def configure_heads(
    settings: Config,
    head: str = registry.DEFAULT_HEAD,
    pool: str = registry.DEFAULT_POOL,
    names: Sequence[str] = (),
    *,
    with_student: bool = False,
    views: ViewSet | None = None,
) -> HeadLabelConfig:
    """The heads on all sources of a workspace, or those named, with the views on which they are fitted.

    `with_student`: and on the student's initial features.

    Raises UsageError for unknown names and parameters, and where there is no source or no student.
    """
    options = HeadLabelConfig(head, pool)
    sources = tuple(source for source in settings.select(names) if source.name != STUDENT)
    path = settings.root / config.FILE
    if not sources:
        raise UsageError(f"no source in {path}", "add a [[source]] table")
    students = tuple(model for model in settings.models if model.name == STUDENT and with_student)
    if with_student and not students:
        raise UsageError(f"no [student] in {path}", "add the table, or leave the student out")
    return HeadLabelConfig(options.head, options.pool, (*sources, *students), bool(names), views)
