"""A trained student, loaded from its folder for use outside zoo."""

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import UsageError
from zoo_cli.models import file
from zoo_cli.models.loading import load_model
from zoo_cli.trust import trust_folders


@dataclass(frozen=True)
class TrainedStudent:
    """A trained student. `module`: in eval mode, float32, on the CPU; images (B, channels, S, S) to logits (B, C).

    `preprocessing`: how an image becomes its input, S being `input_size`; `classes`: the C class names in the order of
    the logits, empty if they are not known.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def load_student(path: str | os.PathLike[str], *, trust: bool = False) -> TrainedStudent:
    """The student in a run folder, or in any folder that `file:PATH` names as a source.

    `trust`: run the code that the folder names as its architecture, which may be a stranger's. Without it only the code
    of workspaces is run: of the one in the current folder, and of each `Workspace` of this process.

    Raises UsageError if there is no model in it, as before the end of its training, ContractError if its files are
    corrupt or do not belong together.
    """
    folder = Path(path)
    if not (folder / file.CONFIG).is_file():
        raise UsageError(f"no trained student at {folder}", "a run that was stopped has none yet: call it again")
    if trust:
        trust_folders([folder])
    model = load_model(Source(folder.name, f"file:{folder.resolve()}"), Path())
    return TrainedStudent(model.module, model.preprocessing, model.class_names or ())
