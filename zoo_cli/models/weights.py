"""Weights files: read without running what they hold, hashed, and loaded strictly."""

import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.third_party import RAISED, asks_for_code, one_line

ENDINGS = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")
NESTED = ("state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.")
AGAIN = "fetch or save it again"
SAFE = "save its state_dict as .safetensors: safetensors.torch.save_file(model.state_dict(), path)"


def locate(text: str, root: Path, name: str) -> Path:
    """The weights file that the source `name` declares, relative to `root`. Raises UsageError where there is none."""
    path = root / text
    if not path.is_file():
        raise UsageError(f'source {name}: no weights file "{text}"', "paths are relative to zoo.toml")
    return path


def means_file(text: str, root: Path) -> bool:
    """Whether the weights are said as a file, there or not, and not as a name that a provider knows."""
    return bool(text) and ("/" in text or "\\" in text or text.endswith(ENDINGS) or (root / text).is_file())


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch checkpoint, on the CPU, by key.

    A checkpoint may hold the state dict under "state_dict" or "model"; prefixes that wrappers leave ("module.") are
    stripped. Raises ContractError for a corrupt file, and for one that holds pickled code, which is never run.
    """
    state: object
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ContractError(f"{path} is no whole safetensors file: {one_line(error)}", AGAIN) from None
    else:
        state = _read_checkpoint(path)
    for key in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state:
        raise ContractError(f"{path} holds no state dict", SAFE)
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ContractError(f'{path} holds no state dict: "{key}" is {type(value).__name__}, not a tensor', SAFE)
    tensors = dict(state)
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _read_checkpoint(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # About pickle's protocols; what matters of them is said below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except RAISED as error:  # bytes that are no checkpoint make an unpickler raise almost anything
        with path.open("rb") as file:
            pickled = file.read(1) == pickle.PROTO
        if asks_for_code(error) or (pickled and "Unsupported operand" in str(error)):
            raise ContractError(f"{path} holds pickled code, which zoo never runs", SAFE) from None
        detail = one_line(error, 10_000).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
        raise ContractError(f"{path} is no whole checkpoint: {detail[:200]}", AGAIN) from None


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly into a module; halves become the module's float32.

    Raises ContractError naming the first keys that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    wrong = [
        f"{key} is {_shape(state[key])} instead of {_shape(value)}"
        for key, value in own.items()
        if key in state and isinstance(value, Tensor) and state[key].shape != value.shape
    ]
    faults = [_first(wrong)] if wrong else []
    if not wrong:
        ordered = OrderedDict(state)
        # torch keeps versions of layers beside the tensors, safetensors does not, and MNASNet refuses to go without.
        ordered._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
        result = module.load_state_dict(ordered, strict=False)
        # Checkpoints of 2018 and before do not count batches; in eval mode nobody asks.
        missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
        faults += [f"missing {_first(missing)}"] if missing else []
        faults += [f"unexpected {_first(result.unexpected_keys)}"] if result.unexpected_keys else []
    if faults:
        raise ContractError(
            f"{where} does not fit the architecture: {'; '.join(faults)}",
            "check the model, its args and classes against the file",
        )


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_sha256(module: nn.Module) -> str:
    """The digest of a module's state dict: names, types, shapes and bytes in the order of the keys."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
