"""Folders of models on the Hugging Face hub: from its cache without asking the hub, else fetched once."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo_cli import interruption
from zoo_cli.errors import Interrupted, UsageError, ZooError
from zoo_cli.guard import guarded, one_line
from zoo_cli.models.third_party import tensors_only

TIMEOUT = 10.0
"""Seconds within which the hub must answer; its client alone would try again for minutes."""
NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The weights of a folder, in the order of preference; an index names the parts of large ones."""
BESIDE = ("preprocessor_config.json", "processor_config.json")
ANSWERS = {401: "needs a token, or does not exist", 403: "needs a permission", 404: "is not on the hub"}
"""What the hub's answers say of a repository."""


def find_folder(name: str, source: str) -> Path:
    """The folder with the configuration and the weights of `ORG/NAME` or `ORG/NAME@REVISION`.

    What is in the hub's cache is not asked for again. Raises UsageError for another kind of name, ZooError where the
    hub cannot be reached within 10 s or does not have the files.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f'source {source}: "{name}" is not the name of a model on the hub', "write ORG/NAME")
    repository, _, revision = name.partition("@")
    config = find_cached(repository, revision, (CONFIG,))
    if config is not None and find_cached(repository, revision, WEIGHTS) is not None:
        return config.parent
    where = f"source {source}: {repository}"
    hint = f"connect once, or name its folder as file:FOLDER (hf download {repository})"
    with reaching_hub(repository, revision, where, hint):
        return _fetch(repository, revision, where)


@contextmanager
def reaching_hub(repository: str, revision: str, where: str, hint: str) -> Iterator[None]:
    """A context in which the hub is asked for files of a repository: quietly, and after it has answered once.

    Raises ZooError if it does not answer, or refuses. `where` names the source and the repository.
    """
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        _ask(repository, revision, where, hint)
        with guarded(f"{where} cannot be fetched", hint, fetches=True), tensors_only():
            yield
    finally:
        logger.setLevel(level)


def find_cached(repository: str, revision: str, files: Sequence[str]) -> Path | None:
    """The first of these files of a repository that is in the hub's cache; None if none is."""
    hub = _import_hub(repository)
    paths = (hub.try_to_load_from_cache(repository, file, revision=revision or None) for file in files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _fetch(repository: str, revision: str, where: str) -> Path:
    hub = _import_hub(where)
    files = set(hub.HfApi().list_repo_files(repository, revision=revision or None))
    weights = next((file for file in WEIGHTS if file in files), None)
    if CONFIG not in files or weights is None:
        raise UsageError(f"{where} has no {CONFIG} or no weights", f"name a model with {CONFIG} and {WEIGHTS[0]}")
    parts = []
    if weights.endswith(".index.json"):
        pattern = re.compile(re.escape(weights.partition(".")[0]) + r"-\d+-of-\d+\..*")
        parts = sorted(file for file in files if pattern.fullmatch(file))
    wanted = [CONFIG, *(file for file in BESIDE if file in files), *parts, weights]
    paths = [Path(hub.hf_hub_download(repository, file, revision=revision or None)) for file in wanted]
    return paths[0].parent


def _ask(repository: str, revision: str, where: str, hint: str) -> None:
    """One request, in a thread of its own: neither the name server nor a silent connection may take longer."""
    hub = _import_hub(where)
    failures: list[BaseException] = []

    def request() -> None:
        try:
            with guarded(where, hint, fetches=True):
                url = hub.hf_hub_url(repository, CONFIG, revision=revision or None)
                hub.get_hf_file_metadata(url, timeout=TIMEOUT)
        except (ZooError, Interrupted) as error:
            failures.append(error.__cause__ or error)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if thread.is_alive():
        raise ZooError(f"{where}: the hub does not answer within {TIMEOUT:g} s", hint)
    interruption.check()
    if failures:
        status = getattr(getattr(failures[0], "response", None), "status_code", None)
        if status in ANSWERS:
            raise ZooError(f"{where} {ANSWERS[status]}", "check the name; hf auth login stores a token")
        reason = one_line(failures[0]) or type(failures[0]).__name__
        raise ZooError(f"{where}: the hub cannot be reached: {reason}", hint)


def _import_hub(where: str) -> Any:
    try:
        with guarded("huggingface_hub cannot be imported", "install it again"):
            import huggingface_hub
    except UsageError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == "huggingface_hub":
            raise UsageError(f"{where}: huggingface_hub is not installed", "pip install huggingface_hub") from None
        raise
    return huggingface_hub
