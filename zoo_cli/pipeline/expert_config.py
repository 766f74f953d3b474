"""What `zoo expert` trains, as the user sets it. Importing this loads neither numpy nor torch."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config, specs
from zoo_cli.data import splits
from zoo_cli.entries import Objective
from zoo_cli.errors import ParameterError

KINDS = ("shared", "multi-bn", "adapter")
"""What the domains of one network have of their own: heads; batch norms too; 1x1 convolutions too."""
PER_DOMAIN = 100_000
"""At most so many images of a domain make an epoch, unless the user sets the number (paper 001)."""
EXPERT = Objective(
    "zoo_cli.objectives.domains:DomainLabels",
    "labels of one or several domains (paper 001)",
    command="expert",
    labels=True,
    lr=0.1,
    epochs=90.0,
    schedule="steps:at=1/3,2/3",
    batch_size=512,
)
"""The defaults of training an expert, those of paper 001."""


@dataclass(frozen=True)
class DomainSpec:
    """A domain: its name, its training images, and its test images, or the share of the training images set aside."""

    name: str
    train: str
    test: str = ""


@dataclass(frozen=True)
class ExpertConfig:
    """Training of one network on the labels of one or several domains.

    `model`: a model by name, PROVIDER:NAME or a run. `init`: the source whose weights its body starts from.
    `multi`: what the domains have of their own, one of KINDS; None for one domain. `per_domain`: images of a domain in
    an epoch. `input_size`: side of the input in pixels, None for that of the model. `seed`: None for that of the task.

    Raises ParameterError for values out of range or that cannot be combined.
    """

    domains: tuple[DomainSpec, ...]
    model: str
    out: Path
    init: str | None = None
    multi: str | None = None
    per_domain: int | None = None
    input_size: int | None = None
    seed: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.multi is not None and self.multi not in KINDS:
            raise ParameterError(f'`multi` is "{self.multi}"', specs.suggest_name(self.multi, KINDS))
        if self.multi is None and len(self.domains) > 1:
            raise ParameterError(
                f"{len(self.domains)} domains in one network need `multi`", f"one of: {', '.join(KINDS)}"
            )
        if self.per_domain is not None and self.multi is None:
            raise ParameterError("`per_domain` belongs to `multi`", "drop it")
        if self.per_domain is not None and self.per_domain < 2:
            raise ParameterError(f"`per_domain` is {self.per_domain}", "expected a whole number from 2 up")
        if self.input_size is not None and self.input_size < 1:
            raise ParameterError(f"`input_size` is {self.input_size}", "expected a number of pixels from 1 up")


def parse_domains(data: Sequence[str], test: Sequence[str]) -> tuple[DomainSpec, ...]:
    """The domains of `--data` and `--test`, each SPEC or NAME=SPEC; `--test 30%` holds for all of them.

    A name is by default that of the file or folder. Raises ParameterError for names that are equal or not valid, and
    for test images of another domain.
    """
    named = [_split_name(text) for text in data]
    names = [name or config.source_name(spec) for name, spec in named]
    for name in names:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise ParameterError(
                f'`data`: "{name}" cannot name a domain', "write NAME=SPEC, with letters, digits and . _ - + in NAME"
            )
    repeated = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if repeated:
        raise ParameterError(f'`data`: two domains are named "{repeated[0]}"', "write NAME=SPEC to name them")
    tests = dict.fromkeys(names, "")
    for text in test:
        name, spec = _split_name(text)
        is_share = splits.parse_test_share([spec]) is not None
        if not name and not is_share and len(names) > 1:
            raise ParameterError(f'`test`: "{spec}" names no domain', f"write NAME=SPEC, e.g. {names[0]}={spec}")
        for domain in [name] if name else names:
            if domain not in tests:
                raise ParameterError(f'`test`: no domain "{domain}"', specs.suggest_name(domain, names))
            if tests[domain]:
                raise ParameterError(f"`test` of {domain} is given twice", "drop one")
            tests[domain] = spec
    return tuple(DomainSpec(name, spec, tests[name]) for name, (_, spec) in zip(names, named, strict=True))


def _split_name(text: str) -> tuple[str, str]:
    """`birds=folder:data/birds` as a name and a spec; the name is empty without one."""
    name, sign, spec = text.partition("=")
    return (name, spec) if sign and ":" not in name else ("", text)
