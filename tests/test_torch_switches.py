"""Precision and algorithms: torch's switches within a command, and after it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from zoo_cli import devices
from zoo_cli.errors import UsageError, ZooError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def switches() -> dict[str, Any]:
    """What torch has been told about the process as a whole."""
    cudnn: Any = torch.backends.cudnn
    values = {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": cudnn.allow_tf32,
        "benchmark": cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cublas": os.environ.get(devices.CUBLAS_CONFIG),
    }
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        values |= {"new matmul": torch.backends.cuda.matmul.fp32_precision, "new conv": cudnn.conv.fp32_precision}
    return values


@pytest.fixture(params=["default", "changed"])
def before(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The switches as torch has them, and as a notebook may have set them."""
    initial = switches()
    if request.param == "changed":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = False
    yield switches()
    torch.backends.cuda.matmul.allow_tf32 = initial["matmul"]
    torch.backends.cudnn.allow_tf32 = initial["cudnn"]
    assert (switches()["matmul"], switches()["cudnn"]) == (initial["matmul"], initial["cudnn"])


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("bf16", False), ("tf32", True)])
def test_precision_sets_both_kinds_of_tf32_and_restores_them(before, precision, tf32):
    with devices.arithmetic(CUDA, precision, cast=False):
        assert (switches()["matmul"], switches()["cudnn"]) == (tf32, tf32)
        with pytest.raises(ZeroDivisionError), devices.arithmetic(CUDA, "fp32"):
            _ = 1 / 0
        assert (switches()["matmul"], switches()["cudnn"]) == (tf32, tf32)
    assert switches() == before


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9 has one switch")
def test_precision_restores_the_new_switches():
    matmul = torch.backends.cuda.matmul
    saved = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with devices.arithmetic(CUDA, "fp32"):
            assert (matmul.fp32_precision, matmul.allow_tf32) == ("ieee", False)
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = saved


def test_bf16_is_autocast_unless_told_otherwise():
    for cast in (True, False):
        with devices.arithmetic(CPU, "bf16", cast=cast):
            assert torch.is_autocast_enabled("cpu") == cast
    assert not torch.is_autocast_enabled("cpu")


def test_precisions_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match=r'no precision "fp16"; fp32, tf32 or bf16'):
        devices.check_precision("fp16")
    with pytest.raises(UsageError, match="--precision tf32 needs a CUDA device"), devices.arithmetic(CPU, "tf32"):
        pass


@pytest.mark.parametrize("deterministic", [False, True])
def test_algorithms_are_chosen_within_a_command_only(before, deterministic):
    with devices.algorithms(CUDA, deterministic=deterministic):
        inside = switches()
        assert inside["deterministic"] == deterministic
        assert inside["benchmark"] != deterministic
        assert inside["cublas"] == (":4096:8" if deterministic else before["cublas"])
    assert switches() == before
    with devices.algorithms(CPU, deterministic=False):
        assert switches() == before


def test_operation_without_deterministic_form_is_one_line():
    message = (
        "grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation, or …"
    )
    with pytest.raises(ZooError) as raised, devices.algorithms(CPU, deterministic=True):
        raise RuntimeError(message)
    assert raised.value.code == 1
    assert raised.value.message == "grid_sampler_2d_backward_cuda has no deterministic form on cpu"
    assert "--deterministic" in raised.value.hint
    with pytest.raises(RuntimeError, match="something else"), devices.algorithms(CPU, deterministic=True):
        raise RuntimeError("something else")
    assert not torch.are_deterministic_algorithms_enabled()
