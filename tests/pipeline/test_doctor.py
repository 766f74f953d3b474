"""`zoo doctor`: what each check says of a sound machine and of one with a fault, and what it costs the exit code."""

import errno
import os
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workspaces import make, run
from zoo_cli import free_memory
from zoo_cli.config import Config, Source
from zoo_cli.models import cached_weights
from zoo_cli.pipeline import doctor, doctor_libraries, doctor_machine
from zoo_cli.pipeline.diagnosis import Diagnosis
from zoo_cli.pipeline.doctor_probe import STEPS
from zoo_cli.store import commits

SOUND: dict[str, dict[str, Any]] = {
    "torch": {"version": "2.14.1+cu130", "cuda": "13.0", "threads": 2},
    "torchvision": {"version": "0.29.1"},
    "cuda": {"cards": [{"number": 0, "name": "H100", "difference": 1e-5, "free": 70e9, "total": 80e9}], "warning": ""},
}
Change = dict[str, dict[str, Any]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the libraries answer as planted, without another process."""

    def answer(steps: Change, end: str = "ended with code 0") -> None:
        monkeypatch.setattr(doctor_libraries, "try_libraries", lambda: (steps, end))

    answer(SOUND)
    return answer


def states(diagnoses: Iterator[Diagnosis]) -> dict[str, str]:
    return {diagnosis.check: diagnosis.state for diagnosis in diagnoses}


def card(**values: Any) -> Change:
    return {**SOUND, "cuda": {"cards": [{**SOUND["cuda"]["cards"][0], **values}], "warning": ""}}


@pytest.mark.parametrize(
    ("steps", "check", "state", "words"),
    [
        (SOUND, "cuda", "ok", "computes"),
        ({**SOUND, "torch": {"error": "OSError: libcudart"}}, "torch", "fail", "libcudart"),
        ({**SOUND, "torch": {**SOUND["torch"], "version": "2.5.1"}}, "torch", "fail", "torch>=2.6"),
        ({**SOUND, "torchvision": {"error": "RuntimeError: nms"}}, "torchvision", "fail", "does not fit torch 2.14.1"),
        ({**SOUND, "torchvision": {"version": "0.28.0"}}, "torchvision", "warn", "torchvision==0.29.*"),
        (card(error="no kernel image"), "cuda", "fail", "no kernel image"),
        (card(difference=3.0), "cuda", "fail", "differ from those of the CPU by 3"),
        (card(difference=float("nan")), "cuda", "fail", "do not use this card"),
        (card(free=1e9), "cuda", "warn", "another process"),
        ({**SOUND, "cuda": {"cards": [], "warning": ""}}, "cuda", "ok", "the CPU is used"),
        ({**SOUND, "cuda": {"cards": [], "warning": "driver too old"}}, "cuda", "fail", "driver too old"),
        ({**SOUND, "cuda": {"error": "RuntimeError: x"}}, "cuda", "fail", "x"),
    ],
)
def test_libraries_are_judged(
    steps: Change, check: str, state: str, words: str, plant: Callable[..., None], tmp_path: Path
) -> None:
    plant(steps)
    diagnoses = {diagnosis.check: diagnosis for diagnosis in doctor_libraries.check_torch(Config(tmp_path))}
    assert list(diagnoses) == list(STEPS)
    assert diagnoses[check].state == state
    assert words in f"{diagnoses[check].text}; {diagnoses[check].hint}"
    assert all(diagnosis.hint for diagnosis in diagnoses.values() if diagnosis.state != "ok")


@pytest.mark.parametrize("count", range(len(STEPS)))
def test_step_that_ends_its_process_fails(count: int, plant: Callable[..., None], tmp_path: Path) -> None:
    plant({name: SOUND[name] for name in STEPS[:count]}, "was ended by signal 11")
    (diagnosis,) = doctor_libraries.check_torch(Config(tmp_path))
    assert (diagnosis.check, diagnosis.state) == (STEPS[count], "fail")
    assert "was ended by signal 11" in diagnosis.text


def test_hanging_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: Any, **_kwargs: Any) -> None:
        raise subprocess.TimeoutExpired("python", 180, b'{"step": "torch", "version": "2.14.1"}\n')

    monkeypatch.setattr(subprocess, "run", hang)
    steps, end = doctor_libraries.try_libraries()
    assert (list(steps), end) == (["torch"], "hung for 180 s")


@pytest.mark.slow
def test_libraries_of_this_machine_are_tried() -> None:
    steps, end = doctor_libraries.try_libraries()
    assert (tuple(steps), end) == (STEPS, "ended with code 0")
    assert "error" not in steps["torchvision"]


def test_failure_is_exit_code_1(plant: Callable[..., None], tmp_path: Path) -> None:
    result = run("doctor", "--json", workspace=tmp_path)
    before = {row["check"]: row["state"] for row in result.data["checks"]}
    assert (result.code, result.data["healthy"]) == (0, True), result.out
    assert list(before)[:5] == ["workspace", "python", *STEPS]
    plant({**SOUND, "torchvision": {"error": "RuntimeError: nms"}})
    result = run("doctor", "--json", workspace=tmp_path)
    assert (result.code, result.data["healthy"]) == (1, False)
    assert f"1 of {len(before)} checks fail: torchvision" in result.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps", [{**SOUND, "torchvision": {"error": "RuntimeError: nms"}}, {"torch": SOUND["torch"]}])
def test_libraries_that_fail_are_not_imported(
    steps: Change, plant: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(steps, "was ended by signal 6")
    monkeypatch.setattr(doctor_libraries, "FIND_MISSING", "zoo_cli.models.nowhere:ended")
    (tmp_path / "zoo.toml").write_text('[[source]]\nmodel = "torchvision:resnet18"\nweights = "DEFAULT"\n')
    examination = doctor.examine(tmp_path)
    assert examination.failed == ("torchvision",)
    assert examination.diagnoses[-1] == doctor_libraries.UNCHECKED_CACHES


@pytest.mark.usefixtures("plant")
def test_damaged_zoo_toml_is_a_failure(tmp_path: Path) -> None:
    for text in ("[task", '[[source]]\nmodel = "nowhere:x"\n'):
        (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
        assert doctor.examine(tmp_path).failed == ("workspace",)


@pytest.mark.usefixtures("plant")
def test_workspace_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert doctor.examine(tmp_path / "a" / "b").failed == ()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("free", "inodes", "state"), [(9e9, 10**6, "ok"), (1e9, 10**6, "warn"), (1e8, 9, "fail"), (9e9, 9, "warn")]
)
def test_disk(free: float, inodes: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.statvfs_result((4096, 4096, 10**8, int(free // 4096), int(free // 4096), 10**7, inodes, inodes, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _folder: status)
    assert states(doctor_machine.check_disk(Config(tmp_path))) == {"disk": state}


@pytest.mark.parametrize(("number", "hint"), [(errno.EIO, "change its permissions"), (errno.ENOSPC, "free some space")])
def test_disk_that_cannot_sync_fails(number: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(commits, "sync", refuse)
    (diagnosis,) = doctor_machine.check_sync(Config(tmp_path))
    assert (diagnosis.state, os.strerror(number) in diagnosis.text) == ("fail", True)
    assert diagnosis.hint.startswith(hint)
    assert list(tmp_path.iterdir()) == []


def test_slow_disk_and_one_without_links_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError(1, "Operation not permitted")

    assert states(doctor_machine.check_sync(Config(tmp_path))) == {"fsync": "ok"}
    monkeypatch.setattr(os, "link", refuse)
    (diagnosis,) = doctor_machine.check_sync(Config(tmp_path))
    assert (diagnosis.state, "no hard links" in diagnosis.text) == ("warn", True)
    monkeypatch.setattr(doctor_machine, "SLOW_SYNC", 0.0)
    (diagnosis,) = doctor_machine.check_sync(Config(tmp_path))
    assert (diagnosis.state, diagnosis.hint) == ("warn", "use a local disk for the workspace")


@pytest.mark.parametrize(("free", "state"), [(9e9, "ok"), (2e9, "warn"), (5e8, "fail")])
def test_memory(free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "free_ram", lambda: int(free))
    monkeypatch.setattr(free_memory, "ram_limit", lambda: 16 * 10**9)
    (diagnosis,) = doctor_machine.check_memory(Config(tmp_path))
    assert (diagnosis.state, "of the 16.0 GB that the cgroup allows" in diagnosis.text) == (state, True)


@pytest.mark.parametrize(
    ("own", "quota", "environment", "state", "words"),
    [
        (8, None, {}, "ok", "8 cores"),
        (8, 2.5, {}, "warn", "the cgroup allows 2.5, but 8 threads would be started; export OMP_NUM_THREADS=2 ZOO"),
        (8, 2.5, {"OMP_NUM_THREADS": "2", "ZOO_WORKERS": "2"}, "ok", "allows 2.5"),
        (2, None, {}, "warn", "2 of them may be used, but 8 threads would decode images; export ZOO_WORKERS=2"),
        (2, None, {"ZOO_WORKERS": "2"}, "ok", "2 of them may be used"),
        (8, None, {"OMP_NUM_THREADS": "16"}, "warn", "but 16 threads would be started"),
    ],
)
def test_cores(
    own: int,
    quota: float | None,
    environment: dict[str, str],
    state: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_NUM_THREADS", "ZOO_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(own)), raising=False)
    monkeypatch.setattr(free_memory, "cpu_quota", lambda: quota)
    (diagnosis,) = doctor_machine.check_cores(Config(tmp_path))
    assert (diagnosis.state, words in f"{diagnosis.text}; {diagnosis.hint}") == (state, True), diagnosis


def test_extra_that_a_source_needs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_libraries, "_installed_version", lambda name: None if name == "timm" else "99.0")
    assert states(doctor_libraries.check_extras(Config(tmp_path)))["extra timm"] == "warn"
    settings = Config(tmp_path, sources=(Source("s", "timm:resnet18", weights="none"),))
    diagnoses = {diagnosis.check: diagnosis for diagnosis in doctor_libraries.check_extras(settings)}
    assert (diagnoses["extra timm"].state, diagnoses["extra metrics"].state) == ("fail", "ok")
    assert diagnoses["extra timm"].hint == 'pip install "zoo-cli[timm]"'
    monkeypatch.setattr(doctor_libraries, "_installed_version", lambda _name: "0.1")
    assert "at least 1.0.26 is needed" in next(
        diagnosis.text for diagnosis in doctor_libraries.check_extras(settings) if diagnosis.check == "extra timm"
    )


def test_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {
        extra: {name.partition("[")[0]: lowest for name, lowest in (package.split(">=") for package in packages)}
        for extra, packages in project["optional-dependencies"].items()
        if extra not in ("dev", "demo")
    }
    assert {extra: dict(packages) for extra, packages in doctor_libraries.EXTRAS.items()} == declared


def test_weights_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    named = Source("a", "torchvision:resnet18.IMAGENET1K_V1")
    sources = (named, Source("b", "torchvision:resnet18", weights="none"), Source("c", "torchvision:resnet19.X"))
    (unknown, missing) = doctor_libraries.check_caches(Config(tmp_path, sources=sources))
    assert (unknown.state, "c: " in unknown.text) == ("warn", True)
    assert (missing.state, "a (" in missing.text, "b" in missing.text.split("(")[0]) == ("warn", True, False)
    file = cached_weights.find_missing(named, tmp_path)
    assert file is not None
    Path(file).parent.mkdir(parents=True)
    Path(file).write_bytes(b"")
    (diagnosis,) = doctor_libraries.check_caches(Config(tmp_path, sources=sources[:2]))
    assert (diagnosis.state, diagnosis.text) == (
        "ok",
        "all sources of torchvision, timm and clip, 2, load without a network",
    )
    assert cached_weights.find_missing(Source("d", "file:runs/a"), tmp_path) is None


def test_timm_weights_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    import huggingface_hub

    calls: list[str] = []

    def look_up(repository: str, file: str) -> str | None:
        calls.append(f"{repository}/{file}")
        return str(tmp_path / file) if "a1_in1k" in repository else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look_up)
    assert cached_weights.find_missing(Source("a", "timm:resnet18.a1_in1k"), tmp_path) is None
    assert cached_weights.find_missing(Source("a", "timm:resnet18", weights="fb_ssl_yfcc100m_ft_in1k"), tmp_path) == (
        "hf-hub:timm/resnet18.fb_ssl_yfcc100m_ft_in1k"
    )
    assert cached_weights.find_missing(Source("a", "timm:resnet18", weights="none"), tmp_path) is None
    assert calls[0] == "timm/resnet18.a1_in1k/model.safetensors"


@pytest.mark.usefixtures("plant")
def test_sound_workspace_is_counted(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task")
    first = doctor.examine(workspace).diagnoses[0]
    assert (first.state, first.text) == ("ok", f"{workspace / 'zoo.toml'} names 4 models")
