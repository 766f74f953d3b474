"""Exported models: FILE.onnx or FILE.pt2, and FILE.onnx.json beside it, which is written last and vouches for it.

The same description of input, outputs and preprocessing is inside the file, under `METADATA`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files, json_text, stage_log
from zoo_cli.store.records import build_record

Schema = Literal["zoo.export/1"]
SCHEMA: Schema = "zoo.export/1"
METADATA = "zoo"
"""The key of the metadata of an ONNX file. A .pt2 file has it as the extra file `zoo.json`."""
ENDINGS = (".onnx", ".pt2")
AGAIN = "zoo export --overwrite makes it again"


@dataclass(frozen=True)
class ExportInput:
    """The input of an exported model: NCHW, float32 and normalised, or NHWC, uint8 as decoded. The batch is free."""

    name: str
    type: Literal["float32", "uint8"]
    layout: Literal["NCHW", "NHWC"]
    shape: Sequence[int | str]


@dataclass(frozen=True)
class ExportDescription:
    """What an exported model says of itself.

    `preprocessing`: how an image becomes the input, of which `preprocessing_inside` has the graph scale and normalise;
    `steps`: the same in words, what is left to the caller. `classes`: names in the order of the logits; `outputs`: the
    shapes by name; `output`: what turns logits into probabilities.
    """

    input: ExportInput
    outputs: Mapping[str, Sequence[int | str]]
    preprocessing: Preprocessing
    preprocessing_inside: bool
    steps: Sequence[str]
    classes: Sequence[str]
    output: Literal["softmax", "sigmoid"]
    trained_on: Sequence[str]
    weights_sha256: str
    parameters: int
    schema: Schema = SCHEMA


@dataclass(frozen=True)
class Comparison:
    """The largest absolute difference of the logits of N images from those of `reference`."""

    reference: str
    images: int
    largest_difference: float


@dataclass(frozen=True)
class QuantizationCost:
    """What 8-bit integers cost on the n test images with a known label: accuracies and flips against float32.

    `calibration`: images from which the ranges of the activations were taken; `largest_difference`: of the logits;
    `float32_bytes`: the size before.
    """

    calibration: int
    n: int
    accuracy_before: float | None
    accuracy_after: float | None
    delta: float | None
    positive: int
    negative: int
    largest_difference: float
    float32_bytes: int


@dataclass(frozen=True)
class ExportLog:
    """What may differ between equal exports: the seconds it took, and the median latency of a single image.

    `float32_latency_ms`: that of the network before it was quantized.
    """

    seconds: float
    latency_ms: float
    threads: int
    float32_latency_ms: float | None = None


@dataclass(frozen=True)
class ExportRecord:
    """The document beside an exported model. `inputs`: what it was made from; `versions`: of the libraries."""

    file: str
    sha256: str
    bytes: int
    inputs: Mapping[str, Any]
    model: ExportDescription
    comparison: Comparison
    int8: QuantizationCost | None = None
    made_by: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: Schema = SCHEMA


def record_file(path: Path) -> Path:
    """The document beside an exported model."""
    return path.with_name(f"{path.name}.json")


def load_export_record(path: Path) -> ExportRecord:
    """The document beside the exported model at `path`. Raises ContractError for a damaged one."""
    document = record_file(path)
    return build_record(ExportRecord, files.read_json(document), document, AGAIN)


def load_checked_record(path: Path) -> ExportRecord:
    """As `load_export_record`, after the model has been compared with its digest.

    Raises ContractError for a model that is missing or damaged.
    """
    record = load_export_record(path)
    if not path.is_file():
        raise ContractError(f"{path} is missing: {record_file(path).name} describes it", AGAIN)
    if files.digest(path) != record.sha256:
        raise ContractError(f"{path} is damaged: it differs from its digest in {record_file(path).name}", AGAIN)
    return record


def write_export_log(path: Path, log: ExportLog) -> None:
    """Write the log beside an exported model, see `stage_log`."""
    files.write_json(stage_log.log_file(path), asdict(log))


def load_export_log(path: Path) -> ExportLog | None:
    """The log beside an exported model; None without one, and for one that cannot be read."""
    file = stage_log.log_file(path)
    try:
        return build_record(ExportLog, files.read_json(file), file) if file.is_file() else None
    except (ContractError, UsageError):
        return None


def has_record(path: Path) -> bool:
    """Whether the document beside a model is one that zoo wrote."""
    document = record_file(path)
    if not document.is_file():
        return False
    try:
        content = files.read_json(document)
    except ContractError:
        return SCHEMA.encode() in document.read_bytes()
    return isinstance(content, dict) and content.get("schema") == SCHEMA


def parse_description(text: str, path: Path) -> ExportDescription:
    """The description inside an exported model. Raises ContractError for what is none."""
    try:
        content = json_text.parse_json(text)
    except ValueError as error:
        raise ContractError(f'the metadata "{METADATA}" of {path} is damaged: {error}', AGAIN) from None
    return build_record(ExportDescription, content, f'the metadata "{METADATA}" of {path}', AGAIN)


def model_digests(folder: Path) -> dict[str, str]:
    """The digests of the files of a student that any export of it is made from, among the inputs of its record."""
    return {"weights": files.digest(folder / "model.safetensors"), "config": files.digest(folder / "config.json")}


def list_exports(folder: Path) -> list[Path]:
    """The exported models in a folder, by name: those with a document of zoo, whether they are there or not."""
    documents = [path for ending in ENDINGS for path in folder.glob(f"*{ending}.json")]
    return [path for document in sorted(documents) if has_record(path := document.with_suffix(""))]
