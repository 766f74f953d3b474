"""Zero-shot heads: the classes of a task as text embeddings, with which the embedding of an image is compared."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zoo_cli import specs, system_errors
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import one_line

CLASS, EMBEDDING = "class", "embedding"
"""The columns of a file of text embeddings."""
SLOT = "{}"
"""The place of the class name in a prompt."""
DEFAULT_PROMPTS = ("a photo of a {}.",)
WRITE_AGAIN = f"write it with the columns {CLASS} (text) and {EMBEDDING} (numbers)"


class ZeroShotNetwork(nn.Module):
    """Images (B, channels, size, size) to logits (B, C), or without a head to embeddings (B, D) of unit length.

    The weights of its head are the text embeddings times the scale of the model, so that a logit is scale * cosine.
    """

    def __init__(self, visual: nn.Module, head: nn.Module):
        super().__init__()
        self.visual = visual
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        output = self.visual(images)
        embedding = output[0] if isinstance(output, tuple) else output  # CoCa's tokens come second
        logits: Tensor = self.head(functional.normalize(embedding, dim=-1))
        return logits


def make_head(embeddings: NDArray[np.float32], scale: float, bias: float | None) -> nn.Linear:
    """The linear layer from image embeddings (B, D) of unit length to logits (B, C): scale * cosine + bias.

    `embeddings`: (C, D), of unit length.
    """
    classes, dim = embeddings.shape
    head = nn.Linear(dim, classes, bias=bias is not None, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        head.weight.copy_(scale * torch.from_numpy(embeddings))
        if bias is not None:
            head.bias.fill_(bias)
    return head


def average_embeddings(embeddings: NDArray[np.floating], groups: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """The mean of the normalised embeddings (N, D) of each group, normalised again: (count, D).

    `groups`: (N,), the group of each row, from 0 to `count` - 1. Raises ValueError, naming its first group, for an
    embedding or a mean that is zero or not finite.
    """
    values = np.asarray(embeddings, np.float64)
    unit = _normalise(values, groups)
    means = np.zeros((count, values.shape[1]))
    np.add.at(means, groups, unit)
    means /= np.maximum(np.bincount(groups, minlength=count), 1)[:, None]
    return _normalise(means, np.arange(count)).astype(np.float32)


def fill_prompts(prompts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Every prompt for every class name: those of the first class come first. Underscores of names become spaces."""
    return [prompt.replace(SLOT, name.replace("_", " ")) for name in names for prompt in prompts]


def check_prompts(prompts: Sequence[str], where: str) -> None:
    """Raise UsageError for a prompt without a place for the class name, and for an empty list. `where`: the source."""
    for prompt in prompts:
        if SLOT not in prompt:
            raise UsageError(f'{where}: the prompt "{prompt}" has no {SLOT}', f'write e.g. "{DEFAULT_PROMPTS[0]}"')


def read_embeddings(path: Path, names: Sequence[str], dim: int, where: str) -> NDArray[np.float32]:
    """The text embedding (C, dim) of each class name in a parquet file, of unit length.

    Rows of the same class, one a prompt, are averaged; classes that are not asked for are left out. Raises UsageError
    for a missing file, ContractError for a class that it lacks, another width, and damaged or wrong content. `where`
    names the source.
    """
    table = _read_table(path, where)
    labels = table.column(CLASS).cast(pa.string()).to_pylist()
    unique = tuple(dict.fromkeys(names))  # ImageNet has two cranes
    positions = {name: position for position, name in enumerate(unique)}
    rows = np.array([row for row, label in enumerate(labels) if label in positions], np.int64)
    missing = sorted(positions.keys() - set(labels), key=positions.__getitem__)
    if missing:
        more = f" and {len(missing) - 1} more of the task's" if len(missing) > 1 else ""
        hint = _suggest_class(missing[0], [label for label in labels if label is not None])
        raise ContractError(f'{path} has no class "{missing[0]}"{more}', hint)
    column = table.column(EMBEDDING).take(pa.array(rows)).combine_chunks()
    widths = set(pc.list_value_length(column).to_pylist())
    if widths != {dim}:
        other = next(width for width in widths if width != dim)
        raise ContractError(
            f"{path} has an embedding of {other or 0} numbers, but {where} has {dim}", "write those of the same model"
        )
    values = pc.list_flatten(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    groups = np.array([positions[labels[row]] for row in rows], np.int64)
    try:
        means = average_embeddings(values.reshape(len(rows), dim), groups, len(unique))
    except ValueError as error:
        group = error.args[0]
        raise ContractError(f'{path}: the embedding of "{unique[group]}" is zero or not finite', WRITE_AGAIN) from None
    return means[[positions[name] for name in names]]


def digest_head(
    encoder: str, names: Sequence[str], prompts: Sequence[str], embeddings: NDArray[np.float32] | None
) -> str:
    """SHA-256 of the digest of an encoder and of what its head is made from: names, and prompts or embeddings (C, D).

    Embeddings that a text encoder computes are left out: their last digits differ between machines.
    """
    digest = hashlib.sha256(json.dumps([encoder, list(names), list(prompts)]).encode())
    if embeddings is not None:
        digest.update(np.ascontiguousarray(embeddings, "<f4").tobytes())
    return digest.hexdigest()


def _normalise(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    norms = np.sqrt((values**2).sum(1, keepdims=True))
    wrong = ~np.isfinite(norms[:, 0]) | (norms[:, 0] <= 1e-12)
    if wrong.any():
        raise ValueError(int(groups[wrong.argmax()]))
    unit: NDArray[np.float64] = values / norms
    return unit


def _read_table(path: Path, where: str) -> pa.Table:
    if not path.exists():
        raise UsageError(f"{where}: no file {path}", "class_embeddings is relative to zoo.toml")
    if path.is_dir():
        raise UsageError(f"{where}: class_embeddings = {path} is a folder", "name a parquet file")
    system_errors.refuse_special(path)
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ContractError(f"{path} is not a complete parquet file: {one_line(error)}", WRITE_AGAIN) from None
    for column in (CLASS, EMBEDDING):
        if table.schema.names.count(column) != 1:
            raise ContractError(f'{path} has no column "{column}"', WRITE_AGAIN)
    kind = table.schema.field(CLASS).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ContractError(f'the column "{CLASS}" of {path} is {kind}, not text', WRITE_AGAIN)
    kind = table.schema.field(EMBEDDING).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ContractError(f'the column "{EMBEDDING}" of {path} is {kind}, not a list of numbers', WRITE_AGAIN)
    return table


def _suggest_class(name: str, labels: Sequence[str]) -> str:
    guess = specs.guess_name(name, sorted(set(labels)))
    nearest = f'the nearest is "{guess}"; ' if guess else ""
    return f"{nearest}its classes must be named as in classes.json"
