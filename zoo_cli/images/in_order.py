"""`map` in threads with results in order, which ends when a thread cannot start or gives no answer."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

from zoo_cli import interruption
from zoo_cli.errors import ZooError

AHEAD = 256
AHEAD_BYTES = 64_000_000
SILENCE = 60.0
"""Seconds without an answer after which a thread is given up."""
TICK = 0.5

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Task(Generic[T, R]):
    """An item on its way, for how long its thread has given no answer, and how many reasons there are to wait."""

    item: T
    name: str
    size: int
    future: Future[R] = field(default_factory=Future)
    silent: float = 0.0
    pauses: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        """Keep an error for where the result is asked for."""
        if error is not None:
            self.future.set_exception(error)
        return True


_own = threading.local()


def map_in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    size_of: Callable[[T], int] = lambda _: 0,
    name_of: Callable[[T], str] = lambda _: "an image",
) -> Generator[R, None, None]:
    """`map` in a pool of threads (Pillow decodes without the interpreter lock), with results in the order of the items.

    At most AHEAD items, or two per worker if that is more, are ahead of the consumer: results are small, and decoding
    must continue while a batch is in the network. Items that hold bytes, `size_of(item)` of them, are AHEAD_BYTES ahead
    at most. `workers = 0` uses the calling thread. On an error, an interrupt or a consumer that stops, items that have
    not started are dropped.

    Raises ZooError with the `name_of(item)` for whose work no thread can be started, or that gives no answer for
    SILENCE seconds while the consumer waits. Its thread is left behind: it does not keep the program from ending.
    """
    if workers <= 0:
        yield from map(function, items)
        return
    pool = _Pool(function, workers)
    waiting: deque[_Task[T, R]] = deque()
    ahead = 0
    try:
        for item in items:
            task: _Task[T, R] = _Task(item, name_of(item), size_of(item))
            pool.submit(task)
            waiting.append(task)
            ahead += task.size
            while len(waiting) > max(AHEAD, 2 * workers) or (ahead > AHEAD_BYTES and len(waiting) > workers):
                ahead -= waiting[0].size
                yield pool.wait_for(waiting.popleft())
        while waiting:
            yield pool.wait_for(waiting.popleft())
    finally:
        for task in waiting:
            task.future.cancel()
        pool.close()


@contextmanager
def paused() -> Iterator[None]:
    """A context in which this thread may wait for as long as it takes: others go on, or it reads a large file."""
    task: _Task[object, object] | None = getattr(_own, "task", None)
    if task is None:
        yield
        return
    task.pauses += 1
    try:
        yield
    finally:
        task.silent = 0.0
        task.pauses -= 1


class _Pool(Generic[T, R]):
    """Threads that end with the program, whatever they do: those of concurrent.futures would be waited for."""

    def __init__(self, function: Callable[[T], R], workers: int):
        self.function = function
        self.workers = workers
        self.threads = 0
        self.queue: SimpleQueue[_Task[T, R] | None] = SimpleQueue()
        self.running: dict[int, _Task[T, R]] = {}

    def submit(self, task: _Task[T, R]) -> None:
        """Queue a task, and start a thread for it unless there are enough."""
        if self.threads < self.workers:
            thread = threading.Thread(target=self._work, name=f"decode_{self.threads}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise ZooError(
                    f"{task.name}: no thread to decode it: {error}",
                    "use fewer --workers, or allow more processes (ulimit -u); what is finished is kept",
                ) from None
            interruption.watch_thread(thread)
            self.threads += 1
        self.queue.put(task)

    def wait_for(self, task: _Task[T, R]) -> R:
        """The result of a task. Raises ZooError if it, or any that is running, gives no answer."""
        while not task.future.done():
            try:
                return task.future.result(TICK)
            except TimeoutError:
                if task.future.done():  # an error of the function
                    break
            # Counted while it is waited for, so that a suspended program has no late threads when it goes on.
            for each in {id(each): each for each in (task, *list(self.running.values()))}.values():
                if not each.pauses:
                    each.silent += TICK
                if each.silent >= SILENCE:
                    raise ZooError(
                        f"{each.name}: no answer for {SILENCE:.0f} s from the thread that reads and decodes it",
                        "check the image and its disk, or leave it out; what is finished is kept",
                    )
        return task.future.result()

    def close(self) -> None:
        """Let every thread end after what it is doing."""
        for _ in range(self.threads):
            self.queue.put(None)

    def _work(self) -> None:
        own = threading.get_ident()
        while (task := self.queue.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                self.running[own] = _own.task = task
                with task:
                    task.future.set_result(self.function(task.item))
                _own.task = None
                del self.running[own]
            del task
