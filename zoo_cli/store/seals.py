"""Seals: a file holds a digest of itself, which its reader compares. A damaged file is refused, not misread.

The seal of a parquet file covers its footer, which the checksums of its pages do not; that of a JSON document or of a
safetensors file covers all of it. A file without one, of an earlier version or of another program, is read as it is.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "zoo.seal"
BLANK = "0" * 80
"""The seal while it is computed: 16 digits for where the footer begins, and 64 of a sha256."""
JSON_KEY = "seal"
JSON_MARK = "zoo.seal/1:"
"""The beginning of the seal of a document: one under another key is a document whose key is damaged."""

# In the compact protocol of Thrift, the value of a key is a field of type binary (0x18) and of a length (0x50).
_PARQUET = re.compile(re.escape(KEY.encode()) + rb"\x18\x50([0-9a-f]{80})")
_TENSORS = re.compile(rb'"' + re.escape(KEY.encode()) + rb'":"([0-9a-f]{80})"')


class BrokenSeal(ValueError):
    """A file that is not as it was written."""


# Parquet ------------------------------------------------------------------------------------------------------------


def seal_footer(path: Path) -> None:
    """Write the seal of a parquet file in the place of its blank one."""
    start, footer = _read_footer(path)
    match = _PARQUET.search(footer)
    assert match is not None, f"{path} has no place for its seal"
    with path.open("r+b") as stream:
        stream.seek(start + match.start(1))
        stream.write(_parquet_seal(start, footer, match).encode())


def check_footer(path: Path) -> None:
    """Raise BrokenSeal if the footer of a parquet file is not as it was written.

    Another program that writes the file anew may keep the seal: its footer then begins elsewhere, and is not checked.
    """
    start, footer = _read_footer(path)
    match = _PARQUET.search(footer)
    if match is None or not match[1].startswith(f"{start:016x}".encode()):
        return
    if match[1] != _parquet_seal(start, footer, match).encode():
        raise BrokenSeal("its footer differs from its seal")


def _read_footer(path: Path) -> tuple[int, bytes]:
    """Where the footer of a parquet file begins, and its bytes; none of what is not such a file."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        if size < 12:
            return 0, b""
        stream.seek(size - 8)
        length = int.from_bytes(stream.read(4), "little")
        start = size - 8 - length
        if start < 4:
            return 0, b""
        stream.seek(start)
        return start, stream.read(length)


def _parquet_seal(start: int, footer: bytes, place: re.Match[bytes]) -> str:
    blank = footer[: place.start(1)] + BLANK.encode() + footer[place.end(1) :]
    return f"{start:016x}{hashlib.sha256(blank).hexdigest()}"


# JSON ---------------------------------------------------------------------------------------------------------------


def seal_document(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its seal as the last key."""
    return {**content, JSON_KEY: _document_seal(content)}


def open_document(content: Any) -> Any:
    """What `read_json` returns for a JSON value: itself, an object without its seal. Raises BrokenSeal."""
    if not isinstance(content, dict):
        return content
    if JSON_KEY not in content:
        if any(isinstance(value, str) and value.startswith(JSON_MARK) for value in content.values()):
            raise BrokenSeal("its seal is damaged")
        return content
    rest = {key: value for key, value in content.items() if key != JSON_KEY}
    if content[JSON_KEY] != _document_seal(rest):
        raise BrokenSeal("it differs from its seal")
    return rest


def _document_seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{JSON_MARK}{hashlib.sha256(text.encode()).hexdigest()[:32]}"


# safetensors --------------------------------------------------------------------------------------------------------


def seal_tensors(data: bytes) -> bytes:
    """The bytes of a safetensors file with metadata, and with its seal as the first of them."""
    length = int.from_bytes(data[:8], "little")
    header, opening = data[8 : 8 + length].rstrip(b" "), b'{"__metadata__":{'
    assert header.startswith(opening), "a safetensors file without metadata"
    header = opening + f'"{KEY}":"{BLANK}",'.encode() + header[len(opening) :]
    header += b" " * (-len(header) % 8)
    blank = len(header).to_bytes(8, "little") + header + data[8 + length :]
    return blank.replace(BLANK.encode(), _tensors_seal(blank).encode(), 1)


def check_tensors(path: Path, metadata: dict[str, str]) -> dict[str, str]:
    """The metadata of a safetensors file without its seal. Raises BrokenSeal if the file is not as it was written."""
    if KEY not in metadata:
        return metadata
    data = path.read_bytes()
    match = _TENSORS.search(data)
    blank = b"" if match is None else data[: match.start(1)] + BLANK.encode() + data[match.end(1) :]
    if match is None or match[1] != _tensors_seal(blank).encode():
        raise BrokenSeal("it differs from its seal")
    return {key: value for key, value in metadata.items() if key != KEY}


def _tensors_seal(blank: bytes) -> str:
    return f"{0:016x}{hashlib.sha256(blank).hexdigest()}"
