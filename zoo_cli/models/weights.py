"""Weights files: read without running code from them, hashed, and loaded strictly."""

import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo_cli import spec_paths
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.guard import asks_for_code, guarded, one_line
from zoo_cli.models.allowed_classes import ALLOWED
from zoo_cli.models.program_files import describe_program
from zoo_cli.models.state_dicts import find_state_dict, list_state_dicts, strip_wrappers
from zoo_cli.store import checksums, files

SAVE_AGAIN = "fetch or save it again"
SAVE_STATE = "save its state_dict as .safetensors: safetensors.torch.save_file(model.state_dict(), path)"


def locate_weights(text: str, root: Path, name: str) -> Path:
    """The weights file `text`, relative to `root`, that source `name` declares. Raises UsageError if it is missing."""
    path = root / text
    if not path.is_file():
        raise UsageError(f'source {name}: no weights file "{text}"', "paths are relative to zoo.toml")
    return path


def is_file_name(text: str, root: Path) -> bool:
    """Whether declared weights mean a file, existing or not, rather than a name that a provider knows."""
    return spec_paths.is_weights_file(text, root)


def read_weights(path: Path, keys: Collection[str] | None = ()) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or a torch checkpoint by key, on the CPU.

    A checkpoint may hold the state dict under a key, see `state_dicts`. Prefixes left by wrappers ("module.") are
    stripped, but for those of `keys`, the names of the network's own tensors; with None all stay. Raises ContractError
    for a corrupt file, for one that is a program, and for one with pickled code, which is never run.
    """
    checksums.check_file(path)
    checkpoint: object
    if path.suffix == ".safetensors":
        try:
            checkpoint = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise describe_program(path) or ContractError(
                f"{path} is not a complete safetensors file: {one_line(error)}", SAVE_AGAIN
            ) from None
    else:
        checkpoint = _read_checkpoint(path)
    state = find_state_dict(checkpoint)
    if not isinstance(state, Mapping) or not state:
        raise ContractError(f"{path} holds no state dict", SAVE_STATE)
    several = list_state_dicts(state)
    if several:
        raise ContractError(
            f"{path} holds {len(several)} state dicts: {', '.join(several)}",
            f'save one of them: safetensors.torch.save_file(torch.load("{path.name}")["{several[0]}"], NEW_FILE)',
        )
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ContractError(
                f'{path} holds no state dict: "{key}" is {type(value).__name__}, not a tensor', SAVE_STATE
            )
    return dict(state) if keys is None else strip_wrappers(state, keys)


def _read_checkpoint(path: Path) -> object:
    try:
        with guarded(str(path)), warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            # They are about pickle protocols; those that matter become errors below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except ZooError as failure:  # on other bytes an unpickler may raise almost anything
        if program := describe_program(path):
            raise program from None
        error = failure.__cause__ or failure
        with path.open("rb") as file:
            pickled = file.read(1) == pickle.PROTO
        if asks_for_code(error) or (pickled and "Unsupported operand" in str(error)):
            raise ContractError(f"{path} holds pickled code, which zoo never runs", SAVE_STATE) from None
        detail = one_line(error, 10_000).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
        raise ContractError(f"{path} is not a complete checkpoint: {detail[:200]}", SAVE_AGAIN) from None


def list_keys(module: nn.Module, where: str) -> list[str]:
    """The names of a module's tensors. `where` names their file in errors."""
    return list(_read_state(module, where))


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly into a module, converted to its float32. `where` names them in errors.

    Raises ContractError naming the first keys that are missing, unexpected or of another shape.
    """
    what = f"{where}: the network cannot take it"
    own = _read_state(module, where)
    mismatched = [
        f"{key} is {_shape(state[key])} instead of {_shape(value)}"
        for key, value in own.items()
        if key in state and isinstance(value, Tensor) and state[key].shape != value.shape
    ]
    faults = [list_first(mismatched)] if mismatched else []
    if not mismatched:
        ordered = OrderedDict(state)
        # torch stores the versions of layers beside the tensors, safetensors does not, and MNASNet needs them.
        with guarded(what, "fix its load_state_dict"):
            ordered._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
            result = module.load_state_dict(ordered, strict=False)
        # Checkpoints from before 2019 have no batch counters; they have no effect in eval mode.
        missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
        faults += [f"missing {list_first(missing)}"] if missing else []
        faults += [f"unexpected {list_first(result.unexpected_keys)}"] if result.unexpected_keys else []
    if faults:
        raise ContractError(
            f"{where} does not fit the architecture: {'; '.join(faults)}",
            _suggest_prefix(state, own) or "check the model, its args and its classes",
        )


def drop_modules(state: Mapping[str, Tensor], modules: Sequence[str]) -> dict[str, Tensor]:
    """The entries of a state dict that do not belong to these modules, given by their dotted names."""
    prefixes = tuple(f"{name}." for name in modules)
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def weights_sha256(module: nn.Module, file: Path | None) -> str:
    """SHA-256 of the weights file, or of the module's state dict if its weights come from no file."""
    return state_sha256(module) if file is None else files.digest(file)


def state_sha256(module: nn.Module) -> str:
    """SHA-256 of a module's state dict: names, types, shapes and bytes, sorted by key."""
    digest = hashlib.sha256()
    with guarded(f"{type(module).__name__} has no state_dict", "fix it"):
        state = module.state_dict()
    for key, value in sorted(state.items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_state(module: nn.Module, where: str) -> Mapping[str, Tensor]:
    with guarded(f"{where}: the network cannot take it", "fix its state_dict"):
        return module.state_dict()


def _suggest_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The hint for weights that would fit under a prefix, and without what is beside it; empty if there is none."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    prefixes = [key.removesuffix(needed[0]) for key in state if key.endswith(f".{needed[0]}")] if needed else []
    for prefix in prefixes:
        if all(prefix + key in state for key in needed):
            beside = [key for key in state if not key.startswith(prefix)]
            drop = f" and drop {list_first(beside)}" if beside else ""
            return f'remove the prefix "{prefix}" from its keys{drop}'
    return ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def list_first(names: Sequence[str], count: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
