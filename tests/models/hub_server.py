"""A local server that answers as the Hugging Face hub does, and a cache of the hub's client in a temporary folder."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0" * 40


def use_cache(folder: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch, *, offline: bool = False) -> None:
    """Let the hub's client ask `endpoint` and keep its files in `folder`."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def fill_cache(cache: Path, name: str, folder: Path) -> Path:
    """Put the files of a folder into the cache as those of the model `ORG/NAME`; where they lie."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    return snapshot


@contextmanager
def serve_models(models: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve folders as models `ORG/NAME`: the address of the server, and the requests that it has answered."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            requests.append(f"{self.command} {self.path}")
            name = next((name for name in models if f"/{name}" in self.path), None)
            if name is None:
                self.reply(401, b"")
            elif self.path.startswith("/api/"):
                files = [{"rfilename": path.name} for path in models[name].iterdir()]
                tree = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "1"}
                    for path in models[name].iterdir()
                ]
                listing = tree if "/tree/" in self.path else {"id": name, "sha": COMMIT, "siblings": files}
                self.reply(200, json.dumps(listing).encode())
            else:
                path = models[name] / self.path.split("?")[0].rpartition("/")[2]
                self.reply(200, path.read_bytes()) if path.is_file() else self.reply(404, b"")

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
