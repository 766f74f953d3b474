"""How third-party code runs: with a seed, and without whole pickles. What it raises is the matter of `guard`."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TIMEOUT = 10.0
FORCED, UNFORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextmanager
def tensors_only() -> Iterator[None]:
    """A context in which every `torch.load`, in any library, reads tensors only, and connections time out after 10 s.

    torch.hub asks for whole pickles by itself; torch's environment variable overrides it.
    """
    before = {name: os.environ.get(name) for name in (FORCED, UNFORCED)}
    timeout = socket.getdefaulttimeout()
    os.environ.pop(UNFORCED, None)
    os.environ[FORCED] = "1"
    socket.setdefaulttimeout(TIMEOUT if timeout is None else timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which torch's global generator is seeded; afterwards its state is restored."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPUs, which fork_rng does not restore here.
        torch.default_generator.manual_seed(seed)
        yield
