"""The one guard around code that is not ours: a user's factory or network, a library's architecture, a download."""

import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from zoo_cli import device_errors, interruption
from zoo_cli.errors import ContractError, Interrupted, UsageError, ZooError

# Words of torch's tensors-only reader for files that ask for code and are not merely damaged.
CODE = ("global", "unrecognized function", "instantiate", "torchscript", "legacy .tar", "persistent_load")


@contextmanager
def guarded(what: str, hint: str = "", *, fetches: bool = False) -> Iterator[None]:
    """Turn whatever such code raises into one line: `what`, then the exception's own text.

    Our own errors, those of a GPU, and signals pass. `fetches`: the code may ask for files from the network. Raises
    ContractError for damaged weights or pickled code, ZooError where `fetches` and files or the network fail,
    UsageError for everything else, with what was raised as its cause.
    """
    try:
        yield
    except (ZooError, Interrupted):
        raise
    except BaseException as error:
        if _is_ctrl_c(error) or _is_of_a_card(error):
            raise
        interruption.check()  # a signal that the code has caught, to raise something of its own
        raise _to_zoo_error(error, what, hint, fetches) from error


def _is_of_a_card(error: BaseException) -> bool:
    try:
        return device_errors.translate(error) is not None
    except Interrupted:
        raise
    except BaseException:  # reading its text runs the code of its class
        return False


def _to_zoo_error(error: BaseException, what: str, hint: str, fetches: bool) -> ZooError:
    text = one_line(error)
    if isinstance(error, pickle.UnpicklingError):
        fault = "the file holds pickled code" if asks_for_code(error) else "the file is not a complete checkpoint"
        return ContractError(f"{what}: {fault}", hint)
    if isinstance(error, SafetensorError):
        return ContractError(f"{what}: not a complete safetensors file: {text}", hint)
    if fetches and isinstance(error, OSError):
        return ZooError(f"{what}: {text}", hint)
    if text.startswith("Error(s) in loading state_dict"):
        return ContractError(f"{what}: {text}", hint)
    return UsageError(f"{what}: {type(error).__name__}" + (f": {text}" if text else ""), hint)


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether this is Python's own Ctrl-C, as in a notebook; ours raises Interrupted instead."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def asks_for_code(error: BaseException) -> bool:
    """Whether a tensors-only read failed because the file would run code."""
    return any(word in _text(error).lower() for word in CODE)


def one_line(error: BaseException, limit: int = 240) -> str:
    """The text of an exception on one line of at most `limit` characters."""
    text = " ".join(_text(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Interrupted:
        raise
    except BaseException as failure:  # it runs the code of its class
        return f"its text cannot be shown ({type(failure).__name__})"
