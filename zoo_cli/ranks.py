"""The processes of one job, as torchrun starts them: which one this is, and what the first does for all of them.

A process on its own is rank 0 of 1, for which every function here does nothing. Waiting is polling, so that signals are
handled, and has an end: a process that waits for one that has died ends with exit code 1.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from zoo_cli import console
from zoo_cli.errors import UsageError, ZooError

T = TypeVar("T")
K = TypeVar("K")

VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets beside WORLD_SIZE."""
JOIN_SECONDS = 300.0
WORK_SECONDS = 7 * 24 * 3600.0
"""How long the others wait for what the first does alone, such as the extraction of all features."""
LEAVE_SECONDS = 60.0
REPORT_SECONDS = 2.0
POLL_SECONDS = 0.02


class PeerLost(ZooError):
    """Another process of the job has ended, or does not answer."""

    def __init__(self) -> None:
        super().__init__("another process of the job has ended", "the same command goes on from what is saved")


@dataclass
class Job:
    """This process among those of a job. `store`: what they share, once one of them needs it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    store: Any = None
    turns: int = 0
    failed: bool = False

    def connect(self) -> Any:
        """The store that all processes share; the first call waits until they have met."""
        if self.store is None:
            from torch import distributed
            from torch.distributed.rendezvous import rendezvous

            with watching():
                waiting = timedelta(seconds=JOIN_SECONDS)
                store = next(rendezvous("env://", self.rank, self.world_size, timeout=waiting))[0]
                distributed.init_process_group(
                    "gloo",
                    store=distributed.PrefixStore("gloo", store),  # type: ignore[attr-defined]
                    rank=self.rank,
                    world_size=self.world_size,
                    timeout=timedelta(seconds=WORK_SECONDS),
                )
            self.store = store
        return self.store

    def meet(self) -> None:
        """Wait for the other processes. Raises PeerLost if one fails."""
        from torch import distributed

        store = self.connect()
        with watching():
            # Polled, so that signals are handled; the messages of gloo show when a process is gone.
            meeting = distributed.barrier(async_op=True)
            while not meeting.is_completed():
                if store.check(["failed"]):
                    raise PeerLost
                time.sleep(POLL_SECONDS)
            meeting.wait()

    def write(self, key: str, value: object) -> None:
        """Give the others a value that JSON can hold."""
        with watching():
            self.connect().set(key, json.dumps(value))

    def announce(self, key: str, value: object) -> None:
        """Give a value to those of the others who are still there, if this process has met them."""
        if self.store is not None:
            with contextlib.suppress(PeerLost):
                self.write(key, value)

    def read(self, key: str, seconds: float = 0.0) -> Any:
        """The value that another process gives, waited for. Raises PeerLost if it is not there after `seconds`."""
        end = time.monotonic() + seconds
        with watching():
            store = self.connect()
            while not store.check([key]):
                if time.monotonic() > end:
                    raise PeerLost
                time.sleep(POLL_SECONDS)
            return json.loads(store.get(key))


_job = Job()


def rank() -> int:
    """The number of this process in its job, from 0."""
    return _job.rank


def local_rank() -> int:
    """The number of this process on its machine, from 0: that of its card."""
    return _job.local_rank


def world_size() -> int:
    """The number of processes of the job."""
    return _job.world_size


def local_world_size() -> int:
    """The number of processes of the job on this machine, which share its memory and cores."""
    return _job.local_world_size


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return _job.rank == 0


def connect() -> Any:
    """The store that all processes share, from which torch makes its groups."""
    return _job.connect()


def share(size: int) -> tuple[int, int]:
    """The part of `size` rows that belongs to this process: its first row and its length, equal for all of them."""
    length = size // _job.world_size
    return _job.rank * length, length


def own_parts(parts: Mapping[K, T]) -> dict[K, T]:
    """Those of some parts of the work that belong to this process: every W-th of them in the order of their keys."""
    return dict(sorted(parts.items())[_job.rank :: _job.world_size])


def first_does(work: Callable[[], T]) -> T:
    """The result of `work`, which rank 0 alone does while the others wait. It is a value that JSON can hold.

    Every process has to come here. Within `work` rank 0 is a process on its own. Raises PeerLost in the others if rank
    0 fails.
    """
    if _job.world_size == 1:
        return work()
    _job.turns += 1
    key = f"turn/{_job.turns}"
    _job.connect()
    if _job.rank == 0:
        _job.write(key, _alone(work))
    _job.meet()
    value: T = _job.read(key)
    return value


def in_turn(work: Callable[[], T]) -> T:
    """The result of `work`, which rank 0 does first: the others then find what it has made.

    Every process has to come here, and is on its own within `work`. Raises PeerLost in the others if rank 0 fails.
    """
    if _job.rank:
        first_does(lambda: None)
        return _alone(work)
    result: list[T] = []
    first_does(lambda: result.append(work()))
    return result[0]


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks, once all of them have come here."""
    if _job.world_size == 1:
        return [value]
    _job.turns += 1
    _job.write(f"turn/{_job.turns}/{_job.rank}", value)
    _job.meet()
    return [_job.read(f"turn/{_job.turns}/{each}") for each in range(_job.world_size)]


def _alone(work: Callable[[], T]) -> T:
    """The result of `work`, done as by a process on its own: it must not wait for the others, who do not come there."""
    global _job
    job, _job = _job, Job()
    try:
        return work()
    finally:
        _job = job


@contextmanager
def watching() -> Iterator[None]:
    """Raise PeerLost for the error with which torch reports that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        console.detail(str(error).partition("\n")[0])
        raise PeerLost from error


# The command line ---------------------------------------------------------------------------------------------------


def start(environment: Mapping[str, str] = os.environ) -> None:
    """Make this process the one that torchrun's variables name. Raises UsageError if some of them are missing."""
    global _job
    _job = _read_job(environment)
    if _job.world_size > 1:
        # torch would print a stack for every process that is gone, beside our line.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def stand_alone() -> None:
    """Make this process a job of its own, which keeps its card: the others neither wait for it nor hear of it."""
    global _job
    _job = Job(local_rank=_job.local_rank, local_world_size=_job.local_world_size)


@contextmanager
def silence() -> Iterator[None]:
    """A context in which nothing is printed, unless this is rank 0."""
    if _job.rank == 0:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        console.use(console.Console(nowhere, nowhere)),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def refuse(command: str) -> None:
    """Raise UsageError in a job of several processes."""
    if _job.world_size > 1:
        raise UsageError(f"zoo {command} cannot use {_job.world_size} processes", "start it without torchrun")


def fail(text: str) -> None:
    """Print the line of an error, unless another process prints the same.

    Before the processes have met, one on each machine speaks: it has the flags and the files of the others there.
    """
    _job.failed = True
    _job.announce("failed", True)
    if _job.rank == 0:
        console.current().fail(text)
        _job.announce("end", text)
    elif _is_news(text):
        console.current().fail(f"rank {_job.rank}: {text}")


def leave(code: int) -> None:
    """End the part of this process in its job. Rank 0, which may keep the store, goes last.

    A process that has failed ends here with its exit code: torch would wait at its end for messages that never come.
    """
    global _job
    job, _job = _job, Job()
    if job.store is None:
        return
    job.announce(f"left/{job.rank}", True)
    if job.rank == 0:
        with contextlib.suppress(PeerLost):
            for each in range(1, job.world_size):
                job.read(f"left/{each}", REPORT_SECONDS if job.failed else LEAVE_SECONDS)
    if job.failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    from torch import distributed

    distributed.destroy_process_group()


def _is_news(text: str) -> bool:
    """Whether rank 0 has not ended for the same reason, or for the reason that is behind this one."""
    if _job.store is None:
        return _job.local_rank == 0
    try:
        return _job.read("end", REPORT_SECONDS) != text and text != str(PeerLost())
    except PeerLost:
        return True


def _read_job(environment: Mapping[str, str]) -> Job:
    try:
        world_size = int(environment.get("WORLD_SIZE", 1))
        if world_size <= 1:
            return Job()
        missing = [name for name in VARIABLES if name not in environment]
        if missing:
            raise UsageError(f"WORLD_SIZE is {world_size}, but {missing[0]} is not set", "start it with torchrun")
        rank, local_rank, local_world_size = (int(environment[name]) for name in VARIABLES[:3])
    except ValueError as error:
        raise UsageError(f"a variable of torchrun is not a number: {error}", "start it with torchrun") from None
    return Job(rank, world_size, local_rank, local_world_size)
