"""The label sets of a workspace: other draws of its labelled images, on the same images, test part and features.

`zoo split --labels NAME` makes one in `labels/NAME/`. The paths of a label set are those of its `Config`.
"""

import re
from pathlib import Path

from zoo_cli import config, specs
from zoo_cli.config import LABELS, Config
from zoo_cli.errors import UsageError

MOST_BYTES = 32
"""The longest name: that of a run becomes so much longer."""


def load_config(root: Path, labels: str | None = None, **instead: object) -> Config:
    """The configuration of a workspace for one of its label sets; None: the main one, that of zoo.toml.

    `instead`: flags by name that bring labels of their own, and cannot be combined with a label set. Raises UsageError
    for those, and for a label set that does not exist, with the nearest name.
    """
    settings = config.load(root)
    if labels is None:
        return settings
    for flag, value in instead.items():
        if value:
            raise UsageError(f"--labels and --{flag} cannot be combined", "drop one of them")
    check_name(labels)
    names = list_label_sets(root)
    if not names:
        raise UsageError(f'no label set "{labels}" in {root}', f"zoo split --labels {labels} --labelled N makes it")
    if labels not in names:
        raise specs.nearest("label set", labels, names)
    return settings.with_labels(labels)


def labels_flag(settings: Config) -> str:
    """What a command for the label set of a configuration ends in."""
    return "" if settings.labels is None else f" --labels {settings.labels}"


def asked_labels(settings: Config) -> dict[str, str]:
    """The label set of a configuration as run.json holds what was asked."""
    return {} if settings.labels is None else {"labels": settings.labels}


def list_label_sets(root: Path) -> list[str]:
    """The names of the label sets of a workspace, without the main one."""
    return sorted(path.parent.name for path in (root / LABELS).glob("*/manifest.parquet"))


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be a folder and the end of the name of a run."""
    if not re.fullmatch(r"\w[\w.%+-]*", name) or len(name.encode()) > MOST_BYTES:
        raise UsageError(
            f'--labels "{name}" cannot name a label set',
            f"it becomes a folder: letters, digits and . _ - + %, a letter or digit first, at most {MOST_BYTES} bytes",
        )
