"""What a model or a layer returns: a tensor, an object, a dict or a tuple, and which part of it is the feature.

A source declares that part as `feature_output`: the name or the number of a part, dotted for a part of a part, and
after a colon which of the tokens (B, T, D) make the feature: `pooler_output`, `last_hidden_state:cls`, `:mean`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from zoo_cli.errors import UsageError

KEY = "feature_output"
CLS, MEAN = "cls", "mean"
"""The first token, and the mean of all tokens."""
SHOWN = 6
"""Parts of an output that an error shows."""


def find_logits(output: Any) -> Tensor | None:
    """The tensor of an output that may be the logits: itself, "logits", or the first of a tuple; None without one."""
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    return logits if isinstance(logits, Tensor) else None


def select_tensor(output: Any, declared: str, what: str = "the model") -> Tensor:
    """The tensor that `declared`, a feature_output or "", names of the output of `what`.

    Raises UsageError, listing the tensors that there are, where it names none.
    """
    if not declared:
        tensor = find_logits(output)
        if tensor is None:
            hint = _list_tensors(output)
            raise UsageError(f"{what} returns {type(output).__name__}, not a tensor", hint or "return a tensor")
        return tensor
    name, _, token = declared.partition(":")
    part = output
    for key in name.split(".") if name else ():
        part = _get_part(part, key)
    if not isinstance(part, Tensor):
        hint = _list_tensors(output) or 'the output is a tensor: ":cls" or ":mean"'
        raise UsageError(f'{KEY} = "{declared}": {what} returns no such tensor', hint)
    if not token:
        return part
    if part.ndim != 3:
        shape = "x".join(map(str, part.shape))
        raise UsageError(f'{KEY} = "{declared}": it has shape {shape}, and no tokens', f'drop ":{token}"')
    return part[:, 0] if token == CLS else part.mean(1)


def check_declaration(declared: str) -> None:
    """Raise UsageError for a feature_output whose token is neither "cls" nor "mean"."""
    name, colon, token = declared.partition(":")
    if colon and token not in (CLS, MEAN):
        raise UsageError(f'{KEY} = "{declared}"', f'write "{name}:{CLS}" or "{name}:{MEAN}"')


def _get_part(output: Any, key: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(key)
    if isinstance(output, tuple | list) and key.isdecimal():
        return output[int(key)] if int(key) < len(output) else None
    return getattr(output, key, None)


def _list_tensors(output: Any) -> str:
    """The hint that lists the tensors of an output with their shapes for two images; empty if there are none."""
    texts = [f"{name} ({'x'.join(map(str, tensor.shape))})" for name, tensor in _walk(output)]
    if not texts:
        return ""
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"set {KEY} to one of: {', '.join(texts[:SHOWN])}{more}; NAME:{CLS} or NAME:{MEAN} for tokens"


def _walk(output: Any, prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        if prefix:
            yield prefix, output
    elif depth:
        if isinstance(output, Mapping):
            parts = list(output.items())
        elif isinstance(output, tuple | list) and not hasattr(output, "_fields"):
            parts = list(enumerate(output))
        else:
            fields = getattr(output, "_fields", None) or getattr(output, "__dict__", {})
            parts = [(name, getattr(output, name, None)) for name in fields]
        for key, part in parts:
            yield from _walk(part, f"{prefix}.{key}" if prefix else str(key), depth - 1)
