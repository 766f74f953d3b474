"""Whole programs given as weights: recognised by the bytes of their files, with the way to their weights."""

import zipfile
from pathlib import Path

from zoo_cli.errors import ContractError

SAVE = "save its weights: safetensors.torch.save_file(dict({}), NEW_FILE)"
TORCHSCRIPT, PT2, ONNX = "a TorchScript program", "a pt2 program of torch.export", "an ONNX program"
WAYS = {
    TORCHSCRIPT: 'torch.jit.load("{}").state_dict()',
    PT2: 'torch.export.load("{}").state_dict',
    ONNX: 'make it a source of its own: model = "onnx:{}"',
}
"""The way to the weights of each kind of program."""
ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""The tags of the fields that may follow ir_version, the first field of an ONNX model."""
ONNX_VERSIONS = range(1, 32)


def describe_program(path: Path) -> ContractError | None:
    """The error for a file that is a TorchScript, pt2 or ONNX program and not a file of weights; None for any other."""
    kind = find_kind(path)
    if kind is None:
        return None
    way = WAYS[kind].format(path.name)
    return ContractError(f"{path} is {kind}, not a file of weights", way if kind == ONNX else SAVE.format(way))


def find_kind(path: Path) -> str | None:
    """What program a file is, by its bytes: a key of `WAYS`; None for any other file."""
    if zipfile.is_zipfile(path):
        return _find_archive(path)
    with path.open("rb") as file:
        start = file.read(3)
    is_onnx = len(start) == 3 and start[0] == 8 and start[1] in ONNX_VERSIONS and start[2] in ONNX_FIELDS
    return ONNX if is_onnx else None


def _find_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return None
    if "constants.pkl" in names:
        return TORCHSCRIPT
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return PT2
    return None
