"""Weights files of torchvision models, read as torchvision reads its own: keys and factory arguments follow from them.

By name, torchvision sets these arguments itself; a file does not tell them, or only by its shapes or its digest.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo_cli.errors import UsageError
from zoo_cli.store import files

INPUT_TRANSFORM = ("googlenet", "inception_v3")
"""They rescale their input with torchvision's own weights and what was trained from them, and else do not."""
POSITIONS = "encoder.pos_embedding"
DENSE_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
URL_DIGEST = re.compile(r"-([0-9a-f]{8,})\.\w+$")
"""The first digits of the sha256 of a file, at the end of its name."""


def rename_keys(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a file with the present names of the layers: torchvision's own DenseNet files are older."""
    if not name.startswith("densenet"):
        return dict(state)
    return {DENSE_KEY.sub(r"\1\2", key): value for key, value in state.items()}


def infer_args(
    name: str, file: Path, state: Mapping[str, Tensor], args: Mapping[str, Any], members: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The arguments of the factory, with those that the weights in a file imply.

    `members`: torchvision's own weights of the model, by name. Raises UsageError where the file leaves open an argument
    on which the features depend.
    """
    inferred = dict(args)
    if name.startswith("vit_") and "image_size" not in args and POSITIONS in state and state[POSITIONS].ndim == 3:
        side = math.isqrt(state[POSITIONS].shape[1] - 1)
        inferred["image_size"] = side * int(name.rpartition("_")[2])
    if name in INPUT_TRANSFORM and "transform_input" not in args:
        if not _is_own_file(file, members):
            raise UsageError(
                f"{where}: whether {name} rescales its input depends on the training of {file.name}, which is unknown",
                "set args = { transform_input = true } if it started from torchvision's weights, else false",
            )
        inferred["transform_input"] = True
    return inferred


def _is_own_file(file: Path, members: Mapping[str, Any]) -> bool:
    """Whether a file has the bytes of torchvision's own weights: their digest is in the name of the download."""
    matches = (URL_DIGEST.search(member.url) for member in members.values())
    starts = tuple(match[1] for match in matches if match)
    return bool(starts) and files.digest(file).startswith(starts)
