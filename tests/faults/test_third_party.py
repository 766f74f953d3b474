"""A user's code may raise anything, anywhere, and print anywhere: one line, exit 2, and nothing of it on stdout."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import start, zoo
from tests.workspaces import MODELS, edit, run
from zoo_cli import errors, guard, interruption
from zoo_cli.config import Source
from zoo_cli.models import loading

Make = Callable[..., Path]

KINDS = {
    "SystemExit(3)": ("raise SystemExit(3)", "SystemExit: 3"),
    "sys.exit(0)": ("sys.exit(0)", "SystemExit: 0"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "StopIteration": ("next(iter(()))", "StopIteration"),
    "BaseException": ("raise Own('all of it')", "Own: all of it"),
    "without text": ("raise Mute", "Mute: its text cannot be shown (ZeroDivisionError)"),
    "recursion": ("deeper()", "RecursionError: maximum recursion depth"),
    "warning": ("warn_as_error()", "UserWarning: look out"),
    "group": ("raise ExceptionGroup('both', [ValueError(1), OSError(2)])", "ExceptionGroup: both (2 sub-exceptions)"),
    "lines": ("raise RuntimeError('first\\n\\tsecond')", "RuntimeError: first second"),
    "hostile": ("raise ValueError('\\x1b[31m[bold]:smile:\\u202e')", r"ValueError: \x1b[31m[bold]:smile:\u202e"),
    "file": ("open('nowhere')", "FileNotFoundError"),
    "memory": ("raise MemoryError", "MemoryError"),
    "import": ("import absent_module", "ModuleNotFoundError"),
    "assert": ("assert not 1, 'no'", "AssertionError: no"),
}
"""Statements that raise, and the text of the error."""

CODE = """
import sys, warnings
import torch
from torch import nn

class Own(BaseException): pass

class Mute(Exception):
    def __str__(self): return str(1 / 0)

def deeper(): deeper()

def warn_as_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("look out")

def fail():
    {statement}

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, g):
        fail()
        return g

class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, width, 3), nn.Linear(width, classes)
        {init}
    def forward(self, x):
        {forward}
        return self.fc(self.conv(x).relu().mean((2, 3)))
    def train(self, mode=True):
        {train}
        return super().train(mode)
    def state_dict(self, *args, **kwargs):
        {state_dict}
        return super().state_dict(*args, **kwargs)
    {copy}

def small(width=8, classes=4): return Net(width, classes)
{top}
"""
PLACES = {
    "import": {"top": "fail()"},
    "factory": {"init": "fail()"},
    "eval": {"train": "if not mode: fail()"},
    "state_dict": {"state_dict": "fail()"},
    "forward": {"forward": "fail()"},
    "single image": {"forward": "if len(x) == 1: fail()"},
    "larger batch": {"forward": "if len(x) > 2: fail()"},
    "training": {"forward": "if self.training: fail()"},
    "train": {"train": "if mode: fail()"},
    "backward": {"forward": "x = Backward.apply(x.requires_grad_()) if self.training else x"},
    "copy": {"copy": "def __deepcopy__(self, memo): fail()"},
}
"""Where the code fails: statements at the places of CODE."""


def code(place: str, kind: str) -> str:
    """A file whose factory fails in one way at one place."""
    empty = dict.fromkeys(("init", "forward", "train", "state_dict", "copy", "top"), "pass")
    return CODE.format(statement=KINDS[kind][0], **{**empty, **PLACES[place]})


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals as the command line handles them."""
    before = signal.getsignal(signal.SIGINT)
    interruption.install()
    yield
    interruption.reset()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["import", "factory", "eval", "state_dict", "forward"])
def test_whatever_user_code_raises_is_one_line(tmp_path: Path, place: str, kind: str) -> None:
    (tmp_path / "nets.py").write_text(code(place, kind), encoding="utf-8")
    preprocessing = {"input_size": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    for _ in range(2):  # an import that failed is tried again
        with pytest.raises(errors.UsageError) as caught:
            loading.load_model(Source("mine", "python:nets.py:small", **preprocessing), tmp_path)
        line = str(caught.value).encode("unicode_escape").decode().replace("\\\\", "\\")
        assert KINDS[kind][1] in line
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", ["sys.exit(0)", "KeyboardInterrupt", "without text", "hostile"])
@pytest.mark.parametrize("place", ["factory", "single image", "larger batch"])
def test_failing_source_ends_extract_with_one_line(workspace: Make, place: str, kind: str) -> None:
    folder = workspace(upto="split")
    (folder / "models.py").write_text(code(place, kind), encoding="utf-8")
    edit(folder, 'weights = "alpha.safetensors"\n', "")
    result = run("extract", "--json", workspace=folder)
    assert result.code == 2
    assert result.out == ""
    assert KINDS[kind][1] in result.error
    assert "small" in result.error
    shown = run("extract", "-v", workspace=folder)
    assert shown.code == 2
    assert "Traceback" in shown.err
    assert "in fail" in shown.err
    assert "\x1b" not in shown.err


@pytest.mark.parametrize("kind", ["sys.exit(0)", "BaseException"])
@pytest.mark.parametrize("place", ["training", "train", "backward", "copy"])
def test_failing_student_ends_training_with_one_line(workspace: Make, place: str, kind: str) -> None:
    folder = workspace(upto="split")
    (folder / "student.py").write_text(code(place, kind), encoding="utf-8")
    edit(folder, '"python:models.py:small"\nargs = { width = 6', '"python:student.py:small"\nargs = { width = 6')
    result = run("finetune", "student", "--steps", "2", "--batch-size", "8", workspace=folder)
    assert result.code == 2
    assert KINDS[kind][1] in result.error


def test_errors_of_ours_of_a_card_and_signals_pass_the_guard() -> None:
    passing = (errors.Paused("later"), errors.Interrupted(15), RuntimeError("CUDA out of memory. Tried"))
    for error in passing:
        with pytest.raises(type(error)) as caught, guard.guarded("it fails"):
            raise error
        assert caught.value is error


def test_ctrl_c_of_a_notebook_passes_the_guard() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), guard.guarded("it fails"):
        signal.raise_signal(signal.SIGINT)


def test_signal_that_user_code_swallows_still_ends_the_command(workspace: Make) -> None:
    folder = workspace(upto="split")
    code = MODELS.replace(
        "    return nn.Seq",
        "    import os, signal, time\n    try:\n        os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
        "    except BaseException as error:\n        raise ValueError('caught') from error\n    return nn.Seq",
    )
    (folder / "models.py").write_text(code, encoding="utf-8")
    result = run("extract", workspace=folder)
    assert result.code == 130
    assert "SIGINT" in result.error


PRINTING = """import atexit, ctypes, os, subprocess, sys
print("at the import")
def noise(where):
    print("printed", where)
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"], check=True)
    sys.stdout.buffer.write(b"bytes\\n"); sys.__stdout__.write("dunder\\n")
    sys.stdout.reconfigure(line_buffering=True)
    ctypes.CDLL(None).printf(b"from C\\n")
    atexit.register(print, "at the exit")
"""
NOISE = ("at the import", "printed", "written", "echoed", "bytes", "dunder", "from C", "at the exit")


def make_noisy(folder: Path, end: str = "") -> None:
    """Let the factory of a workspace print in every way that there is."""
    text = PRINTING + MODELS.replace("    return nn.Seq", f"    noise('here'){end}\n    return nn.Seq")
    (folder / "models.py").write_text(text, encoding="utf-8")


ENDING = """import atexit
from zoo_cli import answer_stream
atexit._clear()
_main = __main__.main
def main(arguments):  # a process of its own, which ends as python lets it end
    answer_stream.separate()
    code = _main(arguments)
    atexit._run_exitfuncs()
    return code
__main__.main = main
"""


def test_what_user_code_prints_goes_to_stderr(workspace: Make, tmp_path: Path) -> None:
    folder = workspace(upto="split")
    make_noisy(folder)
    result = start("extract", "--json", workspace=folder, before=ENDING, place=tmp_path / "run").result()
    assert result.code == 0, result.err
    assert json.loads(result.out)["schema"] == "zoo.extract/1"
    for text in NOISE:
        assert text in result.err


@pytest.mark.slow
def test_user_code_that_closes_stdout_spoils_no_answer(workspace: Make) -> None:
    folder = workspace(upto="split")
    make_noisy(folder, "; sys.stdout.close(); os.close(1); raise SystemExit(0)")
    failed = zoo("extract", "--json", "--overwrite", "-C", str(folder))
    assert failed.code == 2
    assert failed.out == ""
    assert "small of models.py: SystemExit: 0" in failed.err


CLOSED = """import os, sys
os.close(1); os.close(2); sys.stdout = sys.stderr = None
from zoo_cli import answer_stream
answer_stream.separate()
sys.stdout = open(os.devnull, "w")  # which the process flushes at its end
"""


def test_prints_of_user_code_do_not_enter_files_of_closed_streams(workspace: Make, tmp_path: Path) -> None:
    folder = workspace(upto="split")
    make_noisy(folder)
    result = start("extract", workspace=folder, before=CLOSED, place=tmp_path / "run").result()
    assert (result.code, result.out, result.err) == (0, "", "")
    assert run("score", "--metric", "parc", workspace=folder).code == 0  # every part can be read


def test_usage_errors_never_go_to_stdout() -> None:
    python = "import os, sys; os.close(2); sys.stderr = None\nfrom zoo_cli.start import main; sys.exit(main())"
    wrong = zoo("rank", "--nope", python=python)
    assert (wrong.code, wrong.out) == (2, "")


@pytest.mark.parametrize("form", ["json", "tsv", "table", "md"])
def test_print_is_no_part_of_an_answer(workspace: Make, form: str) -> None:
    folder = workspace(upto="split")
    (folder / "models.py").write_text("print('{')\n" + MODELS, encoding="utf-8")
    result = run("extract", "--format", form, workspace=folder)
    assert result.code == 0, result.err
    assert "{\n" in result.err
    assert not result.out.startswith("{\n{")
    assert "{" not in result.out or form == "json"
