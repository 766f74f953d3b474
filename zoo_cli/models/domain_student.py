"""A student of several domains, and the plain network that each domain of its folder is."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo_cli.images import random_numbers
from zoo_cli.models import multi_domain
from zoo_cli.models.student import Student
from zoo_cli.models.third_party import seeded
from zoo_cli.store.model_folders import EXPERTS, DomainRecord


class DomainStudent(Student):
    """A student with parts of its own for each domain; it runs, and trains, as the selected one, at first domain 0.

    `kind`: what the domains have of their own, see `multi_domain`. `domains`: their names and classes.
    """

    def __init__(self, plain: Student, kind: str, domains: Sequence[DomainRecord]):
        super().__init__(
            plain.module, plain.tap, plain.architecture, domains[0].classes, plain.preprocessing, plain.name
        )
        self.kind = kind
        self.domains = tuple(domains)
        self.trained_on = plain.trained_on

    def select_domain(self, domain: int) -> None:
        """Run and train as this domain."""
        multi_domain.select_domain(self.module, domain)
        self.classes = self.domains[domain].classes
        self.tap = replace(self.tap, classes=len(self.classes))

    def config(self, folder: Path | None = None) -> dict[str, Any]:
        """The config.json of a folder of which `file:FOLDER#NAME` builds each domain as a plain network."""
        record = {
            "schema": EXPERTS,
            "multi": self.kind,
            "architecture": self.architecture.to_json(folder),
            "classes": [],
            "domains": [asdict(domain) for domain in self.domains],
            "preprocessing": asdict(self.preprocessing),
            "trained_on": list(self.trained_on),
        }
        return {"zoo": record}


def split_student(plain: Student, kind: str, domains: Sequence[DomainRecord], seed: int) -> DomainStudent:
    """A student of several domains, from one whose head is for the first of them; that student is used up.

    The heads of the others are drawn from `seed`. Raises UsageError for a network that has nothing of this kind.
    """
    name = plain.tap.head
    assert name, "a student has a head"
    parts = multi_domain.find_own_parts(plain.module, kind, name)
    head = plain.module.get_submodule(name)
    heads = [head]
    for domain in domains[1:]:
        with seeded(random_numbers.derive_seed(seed, f"head of {domain.name}")):
            heads.append(multi_domain.new_head(head, len(domain.classes)))
    multi_domain.split_network(plain.module, parts, heads)
    return DomainStudent(plain, kind, domains)
