"""Strict JSON: what our files, and the metadata of parquet and safetensors files, may hold."""

import json
import math
from typing import Any

from zoo_cli import specs


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError for text that is not JSON, and for what no file of ours holds: NaN, a number beyond float64 or an
    integer beyond 64 bits, half of a surrogate pair, and nesting that is too deep.
    """
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int, parse_float=_parse_float)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # such a text could not be printed or written
    return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")


def _parse_int(text: str) -> int:
    if len(text) > 20 or not specs.is_storable(number := int(text)):
        raise ValueError(f"an integer of {len(text)} digits")
    return number


def _parse_float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text} is not finite")
    return value
