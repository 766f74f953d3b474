"""State dicts as training programs save them: under a key, beside other things, with prefixes of wrappers."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

NESTED = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
"""The keys under which checkpoints hold weights, in the order of preference."""
DEPTH = 5
"""A checkpoint may contain itself."""
WRAPPERS = ("module.", "model.")
"""Prefixes of DataParallel, DistributedDataParallel and AveragedModel, and of a Lightning module."""
INNER = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of keys, wherever they stand, that torch.compile, FSDP and activation checkpointing add."""
COUNTERS = frozenset({"n_averaged"})
"""What AveragedModel stores beside the weights."""


def find_state_dict(checkpoint: object) -> object:
    """The state dict of a checkpoint: itself, what it holds under a usual key, or the only one that it holds."""
    for _ in range(DEPTH):
        if not isinstance(checkpoint, Mapping):
            break
        key = next((key for key in NESTED if isinstance(checkpoint.get(key), Mapping)), None)
        if key is None:
            keys = list_state_dicts(checkpoint)
            if len(keys) != 1:
                break
            key = keys[0]
        checkpoint = checkpoint[key]
    return checkpoint


def list_state_dicts(checkpoint: Mapping[Any, Any]) -> list[str]:
    """The keys of a checkpoint under which there are tensors by name, and nothing else."""
    return [key for key, value in checkpoint.items() if isinstance(key, str) and _is_state_dict(value)]


def strip_wrappers(state: Mapping[str, Tensor], keys: Collection[str] = ()) -> dict[str, Tensor]:
    """A state dict without the prefixes of wrappers, in whatever order they are nested.

    `keys`: those of the network that takes it. A prefix stays where it is a part of the network's own names.
    """
    own = set(keys)
    stripped = {_drop_inner(key): value for key, value in state.items()}
    if len(stripped) < len(state) or own & state.keys():
        stripped = dict(state)
    while not own & stripped.keys():
        weights = stripped.keys() - COUNTERS
        prefix = next((each for each in WRAPPERS if weights and all(key.startswith(each) for key in weights)), None)
        if prefix is None:
            break
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items() if key in weights}
    return stripped


def _drop_inner(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in INNER)


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )
