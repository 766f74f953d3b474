"""What `zoo doctor` tries in a process of its own, because a library of another build may end it.

It writes a line of JSON a step, in order: the first step without a line is the one that ended the process.
"""

import json
import sys
from typing import Any

from zoo_cli.errors import ZooError
from zoo_cli.guard import guarded, one_line

STEPS = ("torch", "torchvision", "cuda")
SIDE = 64
"""Of the matrices and images that a card computes."""


def main() -> None:
    """Write what each step gives, or why it fails."""
    for step in STEPS:
        try:
            with guarded(step):
                line = {"step": step, **_run(step)}
        except (ZooError, RuntimeError) as error:  # those of a card pass the guard
            line = {"step": step, "error": one_line(error).removeprefix(f"{step}: ")}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _run(step: str) -> dict[str, Any]:
    return {"torch": _try_torch, "torchvision": _try_torchvision, "cuda": _try_cards}[step]()


def _try_torch() -> dict[str, Any]:
    import torch

    product = torch.ones(2, 2) @ torch.ones(2, 2)
    if product.sum().item() != 8:
        raise RuntimeError("it multiplies wrongly")
    built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda if built else None,
        "threads": torch.get_num_threads(),
    }


def _try_torchvision() -> dict[str, Any]:
    import torch
    import torchvision

    # An operator of its own: it is missing where torchvision is of another build than torch.
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    if len(torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5)) != 1:
        raise RuntimeError("its operators compute wrongly")
    return {"version": torchvision.__version__}


def _try_cards() -> dict[str, Any]:
    import warnings

    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count()
    cards = [_try_card(number) for number in range(count)]
    return {"cards": cards, "warning": "" if count or not caught else str(caught[0].message).splitlines()[0]}


def _try_card(number: int) -> dict[str, Any]:
    """The name and free memory of a card, and how wrong a product and a convolution on it are, or why they fail."""
    import torch

    card: dict[str, Any] = {"number": number, "name": f"cuda:{number}"}
    try:
        card["name"] = torch.cuda.get_device_name(number)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 3, SIDE, SIDE, generator=generator)
        w = torch.randn(4, 3, 3, 3, generator=generator)
        matrix = torch.randn(SIDE, SIDE, generator=generator)
        device = torch.device("cuda", number)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        product = (matrix.to(device) @ matrix.to(device)).cpu()
        images = torch.nn.functional.conv2d(x.to(device), w.to(device)).cpu()
        card["difference"] = max(
            float((product - matrix @ matrix).abs().max()),
            float((images - torch.nn.functional.conv2d(x, w)).abs().max()),
        )
        card["free"], card["total"] = torch.cuda.mem_get_info(device)
    except (RuntimeError, AssertionError) as error:
        card["error"] = one_line(error)
    return card


if __name__ == "__main__":
    main()
