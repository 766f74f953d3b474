"""Compare the Triton kernel with the slices, and compile it; each is a way to run this module.

`TRITON_INTERPRET=1 python -m tests.training.kernel_check cpu` runs it in numpy, `… cuda` on a GPU, and `… compile`
compiles it for a GPU that need not exist: the interpreter accepts code that the compiler rejects.
"""

import sys

import torch

from tests.training import reference_loop
from zoo_cli.objectives import segmented, segmented_triton

CASES = [
    # counts, sigmoid sources, rows, logits' dtype, stored dtype, T, alpha
    ((2, 17, 33), (), 3, torch.float64, torch.float16, 1.0, (0.2, 0.5, 0.3)),
    ((2, 17, 33), (1,), 3, torch.float64, torch.float64, 2.0, (0.2, 0.0, 0.8)),
    ((1500, 5), (), 2, torch.float64, torch.float32, 3.0, (0.9, 0.1)),
    ((5, 1100), (1,), 2, torch.float64, torch.float16, 1.0, (0.9, 0.1)),
    ((40,), (0,), 1, torch.float64, torch.float16, 2.0, (1.0,)),
    ((21, 10, 37), (0,), 4, torch.float32, torch.float16, 1.0, (0.2, 0.5, 0.3)),
    ((21, 10, 37), (0,), 4, torch.bfloat16, torch.float16, 2.0, (0.2, 0.5, 0.3)),
]


def check(device: torch.device) -> int:
    """Compare every case, with and without a gradient; returns the number of cases."""
    tolerances = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-2}
    for seed, (counts, sigmoid, rows, dtype, stored, temperature, alpha) in enumerate(CASES):
        kinds = tuple("sigmoid" if s in sigmoid else "softmax" for s in range(len(counts)))
        logits, targets, offsets = reference_loop.case(counts, kinds, rows, seed, dtype, stored)
        tensors = (logits.to(device), targets.to(device))
        expected = segmented.loss_and_gradient(logits, targets, offsets, alpha, kinds, temperature, True)
        for with_gradient in (True, False):
            actual = segmented_triton.loss_and_gradient(*tensors, offsets, alpha, kinds, temperature, with_gradient)
            if not with_gradient:
                assert actual[1] is None
            for ours, theirs in zip(actual[: 1 + with_gradient], expected, strict=False):
                assert ours.dtype == theirs.dtype
                close = tolerances[dtype] if ours.dtype == dtype else 1e-5
                torch.testing.assert_close(ours.cpu(), theirs, rtol=close, atol=close * 1e-2)
        strided = (torch.cat([tensors[0], tensors[0]], 1)[:, : offsets[-1]], tensors[1].t().contiguous().t())
        again = segmented_triton.loss_and_gradient(*strided, offsets, alpha, kinds, temperature, True)
        torch.testing.assert_close(again[1].cpu().double(), expected[1].double(), rtol=1e-2, atol=1e-4)
        bad = tensors[1].clone()
        bad[0, 0] = torch.nan
        with_nan = segmented_triton.loss_and_gradient(tensors[0], bad, offsets, alpha, kinds, temperature, True)
        assert with_nan[0][0].isnan().tolist() == [True] + [False] * (len(counts) - 1)
    return len(CASES)


def compile_for_gpu() -> int:
    """Compile the kernels of a bf16 run, with and without a temperature, for compute capability 9.0; returns 2."""
    import triton
    from triton import language as tl
    from triton.backends.compiler import GPUTarget

    kernel = segmented_triton._kernel
    types = ["*bf16", "*fp16", "*bf16", "*fp32", "*fp32", "*i32", "*i32", "*fp32", "i32", "i32", "i32", "i32"]
    names = kernel.arg_names
    for soften in (False, True):
        fixed = {"SOFTEN": soften, "WITH_GRADIENT": True, "DTYPE": tl.float32, "BLOCK": 1024}
        signature = dict(zip(names, types + ["constexpr"] * 4, strict=True))
        constants = {(names.index(name),): value for name, value in fixed.items()}
        source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
    return 2


if __name__ == "__main__":
    done = compile_for_gpu() if sys.argv[1] == "compile" else check(torch.device(sys.argv[1]))
    print(done, "cases agree" if sys.argv[1] != "compile" else "kernels compiled")
