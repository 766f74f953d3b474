"""JSON, text and tensors of artifacts. Files are written under a temporary name, checked, fsynced and renamed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from zoo_cli import system_errors
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import checksums, json_text, seals
from zoo_cli.store.commits import replacing, write_error

if TYPE_CHECKING:
    from torch import Tensor  # reading and writing tables must not load torch


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with reading(path):
        return checksums.hash_file(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with its keys in the given order and a newline at the end."""
    write_text(path, to_json_text(value))


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself, which `read_json` checks and leaves out."""
    write_json(path, seals.seal_document(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_json_text(value: Any) -> str:
    """JSON as our files hold it."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON objects, one per line."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON objects, one per line, to the log of a run in progress."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    except OSError as error:
        raise write_error(path, error) from None


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, with the permissions of the umask (the library would make the file private)."""
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(content, dict(metadata) if metadata else None)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        with safe_open(temporary, framework="pt") as check:
            assert set(check.keys()) == set(content), f"{path}: written tensors do not read back"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Arrays as safetensors. With metadata the file holds a digest of itself, which `read_tensors` checks."""
    data = safetensors_numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, dict(metadata or {})
    )
    if metadata:
        data = seals.seal_tensors(data)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ContractError if it is not valid."""
    with reading(path):
        try:
            return seals.open_document(json_text.parse_json(path.read_bytes()))
        except seals.BrokenSeal as error:
            raise ContractError(f"{path} is damaged: {error}", "the command that wrote it makes it again") from None
        except ValueError as error:
            raise ContractError(f"{path} is not valid JSON: {error}") from None


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8."""
    with reading(path):
        return path.read_text(encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines log, without a last line that a kill truncated.

    Raises ContractError for any other line that is not an object.
    """
    rows = []
    with reading(path):
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            try:
                row = json_text.parse_json(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                if not line.endswith(b"\n"):
                    break
                raise ContractError(f"{path} is damaged: line {number} is not a JSON object")
            rows.append(row)
    return rows


def read_tensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """The tensors of a safetensors file and its metadata. Raises ContractError for another file."""
    with reading(path):
        try:
            with safe_open(path, framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
                return tensors, seals.check_tensors(path, stream.metadata() or {})
        except (SafetensorError, seals.BrokenSeal) as error:
            hint = "it is truncated or another kind of file"
            raise ContractError(f"{path} is not a safetensors file: {error}", hint) from None


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file and its metadata, without torch. Raises ContractError for another file."""
    with reading(path):
        try:
            with safe_open(path, framework="np") as stream:
                arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
                return arrays, seals.check_tensors(path, stream.metadata() or {})
        except (SafetensorError, TypeError, seals.BrokenSeal) as error:
            hint = "it is truncated or another kind of file"
            raise ContractError(f"{path} is not a safetensors file: {error}", hint) from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """The context in which a file is read: checked by the SHA256SUMS beside it; what fails is an error of one line."""
    try:
        system_errors.refuse_special(path)
        checksums.check_file(path)
        yield
    except FileNotFoundError:
        raise UsageError(f"no file {system_errors.shorten(path)}") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path} is not text in UTF-8", "it may be damaged, or another kind of file") from None
    except OSError as error:
        failure = system_errors.translate(error)
        if failure is None:
            raise
        failure.message = f"cannot read {system_errors.shorten(path)}: {error.strerror}"
        raise failure from None
