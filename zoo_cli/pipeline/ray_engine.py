"""`zoo extract --engine ray`: actors of a Ray cluster run the sources, on machines that share the workspace.

Ray Data deals the missing parts, starts actors again that are lost, and repeats what they had begun. An actor holds all
sources, decodes each image of a part once for them, and commits the part itself, as `zoo extract` does: only its number
of rows and its failures travel. The cluster is that of RAY_ADDRESS, else one that runs here, else one started here.
Needs the extra ray.
"""

import json
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zoo_cli import __version__, console, device_errors, devices, interruption, system_errors, trust
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, Interrupted, UsageError, ZooError
from zoo_cli.guard import guarded
from zoo_cli.models import loading
from zoo_cli.pipeline import feature_extraction
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.feature_extraction import describe_source
from zoo_cli.pipeline.part_maker import ExtractionJob, PartMaker, Parts
from zoo_cli.progress import Progress
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.replacement import Replacement

ADDRESS = "RAY_ADDRESS"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_raylet_start_wait_time_s": "120",
}
"""Settings of Ray, unless the user has set them: no reports to its makers, no warning of a change, time to start."""
POLL_SECONDS = 1.0
CONNECT_SECONDS = 5.0
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
"""The beginning of a connection of HTTP/2, which gRPC and so Ray's head speak, and the type of frame of its answer."""
LOST_POLLS = 8
"""After so many vain attempts to connect, the head is lost: Ray itself would end this process after a minute."""
ERRORS: dict[int, type[ZooError]] = {kind.code: kind for kind in (ZooError, UsageError, ContractError)}
KEPT = "finished parts are kept, and the same command goes on"


@dataclass(frozen=True)
class Crew:
    """The most actors that a cluster holds at a time, and what each of them has."""

    size: int
    cpus: int
    gpus: int
    workers: int
    device: str


@dataclass(frozen=True)
class Work:
    """What an actor needs to make any part. `fingerprints`: of the records of the sources, by name."""

    settings: Config
    sources: Sequence[Source]
    fingerprints: dict[str, str]
    options: ExtractConfig
    version: str
    trusted: tuple[frozenset[Path], ...]


def extract_features(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Run sources that lack some of their outputs on a Ray cluster, see `feature_extraction.extract_features`."""
    # The working folder of an actor is another one.
    settings = replace(settings, root=Path(os.path.abspath(settings.root)))
    feature_extraction.extract_features(settings, images, sources, options, _make_parts)


def _make_parts(settings: Config, jobs: Sequence[ExtractionJob], parts: Parts, options: ExtractConfig) -> list[Failure]:
    """Let actors make parts; the images that failed. Raises ZooError if one meets an error or the cluster is lost."""
    if not parts:
        return []
    failed: list[Failure] = []
    with _connected() as ray:
        crew = _size_crew(ray, options)
        fingerprints = {job.source.name: job.record.fingerprint for job in jobs}
        sources = [job.source for job in jobs]
        options = replace(options, device=crew.device, workers=crew.workers)
        work = Work(settings, sources, fingerprints, options, __version__, trust.export())
        items = [{"part": json.dumps([rows, _describe_part(part_jobs)])} for rows, part_jobs in sorted(parts.items())]
        pool = ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=min(crew.size, len(items)),
            initial_size=min(crew.size, len(items)),
            max_tasks_in_flight_per_actor=1,
        )
        made = ray.data.from_items(items, override_num_blocks=len(items)).map(
            Actor, fn_constructor_args=(work,), compute=pool, num_cpus=crew.cpus, num_gpus=crew.gpus
        )
        console.say(f"extracting by up to {pool.max_size} actors of Ray, each on {crew.device}")
        with Progress("extract", sum(len(rows) for rows in parts), "images") as progress:
            for row in _follow(ray, made):
                if row["error"]:
                    code, message, hint = json.loads(row["error"])
                    raise ERRORS.get(code, ZooError)(message, hint)
                failed += [Failure(**failure) for failure in json.loads(row["failed"])]
                progress.advance(int(row["rows"]))
            progress.say_end()
    return failed


def _describe_part(part_jobs: Sequence[tuple[ExtractionJob, Path]]) -> list[tuple[str, str, str | None]]:
    """Each source that lacks a part, with its file and the folder where it is made, if it replaces others."""
    return [(job.source.name, str(path), str(job.new.new) if job.new else None) for job, path in part_jobs]


class Actor:
    """Holds all sources in a process of the cluster, and makes one part after the other."""

    def __init__(self, work: Work):
        self.work = work
        self.jobs: dict[str, ExtractionJob] = {}
        self.maker: PartMaker | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Make a part; its number of rows, and the images that failed, or the error that another part meets too."""
        rows, described = json.loads(item["part"])
        answer = {"rows": len(rows), "failed": "[]", "error": ""}
        try:
            maker = self._load()
            part_jobs = [(self._job(name, folder), Path(path)) for name, path, folder in described]
            with open(os.devnull, "w", encoding="utf-8") as nowhere, console.use(console.Console(nowhere, nowhere)):
                failed = maker.make(rows, part_jobs, Progress("extract", None, "images"))
        except (ZooError, RuntimeError, OSError, MemoryError) as error:
            failure = error if isinstance(error, ZooError) else device_errors.translate(error)
            failure = failure or system_errors.translate(error)
            if failure is None:
                raise
            message = f"{failure.message} (on {socket.gethostname()})"
            return {**answer, "error": json.dumps([failure.code, message, failure.hint])}
        return {**answer, "failed": json.dumps([asdict(failure) for failure in failed])}

    def _job(self, name: str, folder: str | None) -> ExtractionJob:
        job = self.jobs[name]
        if folder is None:
            return job
        new = Replacement(self.work.settings.features(name), job.record.fingerprint, Path(folder))
        return replace(job, new=new)

    def _load(self) -> PartMaker:
        """The sources on this machine; an error of theirs is that of the first part, not of the actor."""
        if self.maker is not None:
            return self.maker
        work, settings, options = self.work, self.work.settings, self.work.options
        if work.version != __version__:
            raise ZooError(f"zoo {work.version} gives the work, here is zoo {__version__}", "install the same version")
        if not settings.manifest.exists():
            raise UsageError(f"no {settings.manifest} here", "the workspace must be on a file system that all share")
        trust.restore(work.trusted)
        images = load_manifest(settings.manifest, settings.root)
        for source in work.sources:
            untrained = source.name == STUDENT
            model = loading.load_model(source, settings.root, seed=settings.task.seed, untrained=untrained)
            record = describe_source(settings, source, model, options.precision)
            if record.fingerprint != work.fingerprints[source.name]:
                raise ZooError(f"{source.name} is not the same here", "its files and their versions must be equal")
            self.jobs[source.name] = ExtractionJob(source, model, record, {})
        device = devices.choose(options.device, purpose="extracting")
        self.maker = PartMaker(settings, images, list(self.jobs.values()), device, options)
        return self.maker


def _size_crew(ray: Any, options: ExtractConfig) -> Crew:
    """An actor for each GPU, or for each CPU but one: Ray stalls when actors take all of them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if with_gpus and not options.device.startswith("cpu"):
        # The same of all actors, so that it fits beside the GPUs of each machine.
        cpus = min(max(0, int(node.get("CPU", 0)) - 1) // int(node["GPU"]) for node in with_gpus)
        size = sum(int(node["GPU"]) for node in with_gpus)
        return Crew(size, cpus, 1, max(1, cpus) if options.workers is None else options.workers, "cuda")
    if options.device.startswith("cuda"):
        raise UsageError("--device cuda: the Ray cluster has no GPU", "use --device cpu, or auto")
    total = int(sum(node.get("CPU", 0) for node in nodes))
    return Crew(max(1, total - 1), min(1, total - 1), 0, 1 if options.workers is None else options.workers, "cpu")


@contextmanager
def _own_handler_of_sigterm() -> Iterator[None]:
    """Put the handler of SIGTERM back that Ray replaces by one that exits where the process stands."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        raise Interrupted(signal.SIGTERM) from end
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _connected() -> Iterator[Any]:
    """Ray, connected to a cluster; one that was started here ends with the context."""
    address = os.environ.get(ADDRESS, "")
    if ":" in address and not _answers(address):
        raise ZooError(f"the head of Ray at {address} does not answer", f"start it, or unset {ADDRESS} to run here")
    if ":" in address and os.environ.get("RAY_USE_TLS", "0") == "0" and not _answers(address, GREETING, SETTINGS_FRAME):
        # Ray itself would go on trying for minutes.
        raise ZooError(f"{address} answers, but not as the head of Ray", f"correct {ADDRESS}, or unset it to run here")
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray needs the extra ray", "pip install 'zoo-cli[ray]'") from None
    is_own = not ray.is_initialized()
    if is_own:
        with (
            guarded("cannot join a Ray cluster", f"start its head, or unset {ADDRESS} to run here"),
            _own_handler_of_sigterm(),
        ):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        if is_own and _answers(ray.get_runtime_context().gcs_address):  # a lost head would be waited for
            ray.shutdown()


@dataclass(frozen=True)
class _Passing:
    """Passes the end of a thread's work to another thread: None, or the error that ended it."""

    arrived: queue.SimpleQueue[Any]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        self.arrived.put(error)
        return True


def _follow(ray: Any, made: Any) -> Iterator[dict[str, Any]]:
    """The rows of a data set, computed meanwhile. Raises ZooError if the head of the cluster is lost."""
    address = ray.get_runtime_context().gcs_address
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def consume() -> None:
        with _Passing(arrived):
            for row in made.iter_rows():
                arrived.put(row)

    thread = threading.Thread(target=consume, name="ray", daemon=True)
    thread.start()
    interruption.watch_thread(thread)
    silent = 0
    while True:
        try:
            row = arrived.get(timeout=POLL_SECONDS)
        except queue.Empty:
            silent = 0 if _answers(address) else silent + 1
            if silent == LOST_POLLS:
                raise ZooError(f"the head of Ray at {address} is lost", f"start it again: {KEPT}") from None
            continue
        if row is None:
            return
        if isinstance(row, ray.exceptions.RayTaskError):
            raise row  # an error in our own code
        if isinstance(row, BaseException):
            reason = (str(row).strip().splitlines() or [type(row).__name__])[0]
            raise ZooError(f"Ray has ended the work: {reason}", KEPT) from row
        yield row


def _answers(address: str, greeting: bytes = b"", frame: int | None = None) -> bool:
    """Whether something listens at HOST:PORT, also with a scheme before it, and answers a greeting with this frame."""
    host, _, port = address.rpartition("://")[2].rstrip("/").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            if frame is None:
                return True
            connection.sendall(greeting)
            answer = b""
            while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
                answer += more
            return len(answer) == 4 and answer[3] == frame
    except (OSError, ValueError, OverflowError):
        return False
