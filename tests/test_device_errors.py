"""Errors of a GPU end a command with one line and exit code 1, on the command line and in the Python API."""

import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

import zoo_cli as zoo
from tests.workspaces import make, run
from zoo_cli.device_errors import MEMORY_HINT, is_out_of_memory, translate
from zoo_cli.pipeline import part_maker

REAL_LINE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.21 GiB is "
    "free. Process 7 has 77.88 GiB memory in use. Of the allocated memory 70.00 GiB is allocated by PyTorch. If "
    "reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True."
)
FULL = [
    torch.OutOfMemoryError(REAL_LINE),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]
LOST = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA driver error: device not ready"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
]
OTHER = [
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"),
    ValueError("CUDA error: out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_failed_allocation_has_advice(error: Exception) -> None:
    failure = translate(error)
    assert is_out_of_memory(error)
    assert failure is not None
    assert (failure.code, failure.hint) == (1, MEMORY_HINT)
    assert "\n" not in str(failure)
    assert len(failure.message) < 120


def test_message_holds_what_was_free() -> None:
    failure = translate(torch.OutOfMemoryError(REAL_LINE))
    assert failure is not None
    assert failure.message == REAL_LINE[: REAL_LINE.index(" Process") - 1]


@pytest.mark.parametrize("error", LOST, ids=str)
def test_failed_card_has_advice(error: Exception) -> None:
    failure = translate(error)
    assert not is_out_of_memory(error)
    assert failure is not None
    assert failure.code == 1
    assert failure.message == f"the GPU failed: {str(error).splitlines()[0]}"
    assert "the same command goes on" in failure.hint


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="needs torch 2.8")
def test_accelerator_error_is_recognised_without_its_text() -> None:
    assert translate(torch.AcceleratorError("gone")) is not None


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_stay_bugs(error: Exception) -> None:
    assert translate(error) is None


def test_translation_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert translate(RuntimeError("CUDA error: out of memory")) is not None
    assert "torch" not in sys.modules


def fail_to_load(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported")


def test_command_and_method_fail_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "task", upto="split")
    monkeypatch.setattr(part_maker, "SharedBodyRunner", fail_to_load)
    result = run("extract", workspace=workspace)
    assert result.code == 1
    assert result.error.startswith("the GPU failed: CUDA error: unspecified launch failure; what is finished is kept")
    assert "in fail_to_load" in run("extract", "-v", workspace=workspace).err
    with pytest.raises(zoo.ZooError, match="the GPU failed: CUDA error: unspecified launch failure; what") as caught:
        zoo.Workspace(workspace).extract()
    assert isinstance(caught.value.__cause__, RuntimeError)
