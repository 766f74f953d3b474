"""A `zoo` on the PATH of shells, whose commands run in forks of one warm process and do not import torch anew.

    with warm_program.written(tmp_path / "bin") as folder:   # put it first in PATH

The folder, environment and arguments of a command are those of its caller; it reads nothing from stdin, and what it
prints comes when it has ended.
"""

import contextlib
import itertools
import json
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.faults.processes import start

CLIENT = """#!{python} -SI
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as place:
    place.connect({address!r})
    call = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    place.sendall(json.dumps(call).encode() + b"\\n")
    answer = json.loads(place.makefile("rb").read())
for stream, text in ((sys.stdout, answer["out"]), (sys.stderr, answer["err"])):
    stream.write(text)
    stream.flush()
sys.exit(answer["code"])
"""
BEFORE = """
import os
os.chdir({folder!r})
os.environ.clear()
os.environ.update({environment!r})
"""


@contextlib.contextmanager
def written(folder: Path) -> Iterator[Path]:
    """A folder with the program `zoo`, which works until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, one_at_a_time = itertools.count(), threading.Lock()
    with tempfile.TemporaryDirectory(prefix="zoo-tests-") as short:  # the address of a socket has at most 107 bytes

        class Call(socketserver.StreamRequestHandler):
            """One command of a shell."""

            def handle(self) -> None:
                call = json.loads(self.rfile.readline())
                with one_at_a_time:
                    before = BEFORE.format(folder=call["folder"], environment=call["environment"])
                    place = Path(short) / str(next(numbers))
                    process = start(*call["arguments"], workspace=None, before=before, place=place)
                result = process.result(300)
                code = result.code if result.code >= 0 else 128 - result.code
                self.wfile.write(json.dumps({"code": code, "out": result.out, "err": result.err}).encode())

        address = f"{short}/socket"
        program = folder / "zoo"
        program.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
        program.chmod(0o755)
        with socketserver.ThreadingUnixStreamServer(address, Call) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield folder
            finally:
                server.shutdown()
                thread.join()
