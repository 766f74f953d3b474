"""Running third-party code: a user's factory, a library's architecture, a download."""

import os
import pickle
import socket
import struct
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from zoo_cli.errors import ContractError, UsageError, ZooError

TIMEOUT = 30.0
# Words of torch's tensors-only reader for files that ask for code and are not merely damaged.
CODE = ("global", "unrecognized function", "instantiate", "torchscript", "legacy .tar", "persistent_load")
FORCED, UNFORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
# Python's own kinds of error, and those of the modules that read bytes and pickles. `Exception` itself is caught only
# at the program's boundary, so that bugs of ours are not hidden.
RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    ReferenceError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    SystemError,
    SystemExit,
    TypeError,
    ValueError,
    Warning,
    pickle.PickleError,
    struct.error,
    tarfile.TarError,
)


@contextmanager
def guarded(what: str, hint: str = "", names: Mapping[str, object] | None = None) -> Iterator[None]:
    """Turn what third-party code raises into one line: `what`, then the exception's own text.

    `names`: the namespace of a user's file, whose exception classes are also caught. Raises ContractError for damaged
    weights or pickled code, ZooError if files or the network fail, UsageError for everything else.
    """
    try:
        yield
    except ZooError:
        raise
    except pickle.UnpicklingError as error:
        fault = "the file holds pickled code" if asks_for_code(error) else "the file is not a complete checkpoint"
        raise ContractError(f"{what}: {fault}", hint) from None
    except SafetensorError as error:
        raise ContractError(f"{what}: not a complete safetensors file: {one_line(error)}", hint) from None
    except OSError as error:
        raise ZooError(f"{what}: {one_line(error)}", hint) from error
    except _exception_kinds(names or {}) as error:
        if str(error).startswith("Error(s) in loading state_dict"):
            raise ContractError(f"{what}: {one_line(error)}", hint) from None
        raise UsageError(f"{what}: {type(error).__name__}: {one_line(error)}", hint) from error


def asks_for_code(error: BaseException) -> bool:
    """Whether a tensors-only read failed because the file would run code."""
    return any(word in str(error).lower() for word in CODE)


def one_line(error: BaseException, limit: int = 240) -> str:
    """The text of an exception on one line of at most `limit` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _exception_kinds(names: Mapping[str, object]) -> tuple[type[BaseException], ...]:
    own = [value for value in names.values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*RAISED, *own)


@contextmanager
def tensors_only() -> Iterator[None]:
    """A context in which every `torch.load`, in any library, reads tensors only, and connections time out after 30 s.

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
