"""Every shell block of the README runs, from a folder that holds only the data that its section names.

Plain lines of `zoo` run in this process, everything else in bash, whose `zoo` is a fork of a warm process. Both train
for one step on the CPU.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm_program
from tests.guide.readme_blocks import (
    ROOT,
    Block,
    draw_images,
    read_blocks,
    write_outputs,
    write_pretrained,
    write_student,
)
from tests.workspaces import run

GUIDE = "Your own images"
UNTRAINED = "Your own images, before the training"
EXCLUDED = (
    'python3 -m venv .venv && .venv/bin/pip install ".[demo]" && .venv/bin/zoo demo\n',
    'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest\n',
)
"""Blocks that install packages; CI runs both."""
FOLDERS = {
    GUIDE: ("images",),
    "Without a zoo.toml": ("images in pets", "outputs", "student"),
    "A page to look at": ("images", "zoo.toml"),
    "Shipping the student": (GUIDE,),
    "Several label sets": ("images", "zoo.toml"),
    "In a batch script": (UNTRAINED,),
    "Many sources, tasks and seeds": ("images in T/pets", "zoo.toml in T/pets"),
    "Training sources of your own": (GUIDE, "classes in birds", "classes in cars", "images in data/cars"),
    "Metrics": (GUIDE,),
    "Training": (GUIDE,),
    "Choosing how to train": (GUIDE, "candidates"),
    "Checking a machine": (),
    "Several cards": ("images", "zoo.toml"),
    "New images": (GUIDE,),
    "Completions": (),
}
"""What the folder of each section holds at first."""
SLOW = {
    *(
        "Without a zoo.toml",
        "In a batch script",
        "Metrics",
        "Training",
        "Choosing how to train",
        "Several cards",
        "Several label sets",
    ),
    "Many sources, tasks and seeds",
    "Training sources of your own",
    "Shipping the student",
    "Checking a machine",
}
"""Sections that take most of the time."""
SHORT = ["--steps", "1", "--batch-size", "4"]
SHELLS = {
    "zoo": f"""#!/bin/bash
arguments=()
for word in "$@"; do [ "$word" = cuda ] && word=cpu; arguments+=("$word"); done
case $1 in distill|finetune) arguments+=({shlex.join(SHORT)});; esac
exec ${{ZOO_PROGRAM:-{shlex.quote(sys.executable)} -m zoo_cli}} "${{arguments[@]}}"
""",
    "srun": '#!/bin/bash\nexec "$@"\n',
    "sbatch": """#!/bin/bash
script=$(mktemp); cat > "$script"
for task in $(seq 0 "$(sed 's/.*--array=0-\\([0-9]*\\).*/\\1/' <<< "$*")"); do
  SLURM_ARRAY_TASK_ID=$task bash "$script" >&2 || exit
done
echo 1
""",
    "torchrun": f"""#!/bin/bash
case "$*" in *distill*) set -- "$@" {shlex.join(SHORT)};; esac
exec {shlex.quote(sys.executable)} -m torch.distributed.run --standalone "$@"
""",
}


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("torch")
    write_pretrained(home)
    return home


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory, torch_home: Path) -> Path:
    """The workspace `pets` after the guide."""
    folder = tmp_path_factory.mktemp("guide") / "pets"
    draw_images(folder)
    with pytest.MonkeyPatch.context() as patch:
        run_blocks(GUIDE, folder, torch_home, patch)
    return folder


def run_blocks(section: str, folder: Path, torch_home: Path, patch: pytest.MonkeyPatch) -> None:
    """Run the blocks of a section in a folder, one after another."""
    shells = folder.parent / "shells"
    shells.mkdir()
    for name, text in SHELLS.items():
        (shells / name).write_text(text, encoding="utf-8")
        (shells / name).chmod(0o755)
    patch.chdir(folder)
    patch.setenv("TORCH_HOME", str(torch_home))
    patch.setenv("HOME", str(folder))
    patch.setenv("PATH", f"{shells}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("PYTHONPATH", str(ROOT))
    blocks = blocks_of(section)
    assert blocks
    with warm_program.written(folder.parent / "warm") as programs:
        patch.setenv("ZOO_PROGRAM", str(programs / "zoo"))
        run_all(blocks)


def run_all(blocks: list[Block]) -> None:
    for block in blocks:
        lines = plain_lines(block)
        if lines is None:
            result = subprocess.run(["bash", "-e", "-c", block.text], capture_output=True, text=True, timeout=300)
            assert result.returncode == 0, f"{block.text}\n{result.stderr}"
            continue
        for words in lines:
            short = SHORT if words[0] in ("distill", "finetune", "tune", "expert") else []
            answer = run(*words, *short)
            assert answer.code == 0, f"zoo {shlex.join(words)}\n{answer.err}"


def blocks_of(section: str) -> list[Block]:
    return [block for block in read_blocks("bash") if block.section == section and block.text not in EXCLUDED]


def plain_lines(block: Block) -> list[list[str]] | None:
    """The words after `zoo` of each line; None if the block needs a shell."""
    lines = []
    for line in block.text.replace("\\\n", " ").splitlines():
        # In a word, # begins no comment.
        words = shlex.split(re.sub(r"(^|\s)#.*", "", line))
        if words == ["set", "-e"]:
            continue
        if not words or words[0] != "zoo" or re.search(r"[|;&<>$]", line.partition(" #")[0]):
            return None
        lines.append(words[1:])
    return lines


def test_every_block_is_run_or_excluded() -> None:
    texts = [block.text for block in read_blocks("bash")]
    assert set(EXCLUDED) <= set(texts)
    assert {block.section for block in read_blocks("bash") if block.text not in EXCLUDED} == set(FOLDERS)


def test_lines_that_need_a_shell_are_seen() -> None:
    plain = Block("", "bash", 'set -e\nzoo rank \\\n  --metric parc   # a > b\nzoo show "a b"\n')
    assert plain_lines(plain) == [["rank", "--metric", "parc"], ["show", "a b"]]
    for text in ("zoo rank | head\n", "zoo rank && zoo show a\n", "srun zoo rank\n", "code=75\n", "zoo show $x\n"):
        assert plain_lines(Block("", "bash", text)) is None


@pytest.mark.parametrize(
    "section", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FOLDERS]
)
def test_blocks_of_a_section_run(
    section: str, tmp_path: Path, torch_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if section == GUIDE:
        guide = request.getfixturevalue("guide")
        runs = sorted(path.parent.name for path in (guide / "runs").glob("*/predictions.parquet"))
        assert runs == ["cross-task-parc-p2-s0", "heads-ridge-product-s0", "labels-only-s0"]
        return
    folder = tmp_path / "folder"
    folder.mkdir()
    for part in FOLDERS[section]:
        if part in (GUIDE, UNTRAINED):
            ignore = shutil.ignore_patterns("runs") if part == UNTRAINED else None
            shutil.copytree(request.getfixturevalue("guide"), folder, dirs_exist_ok=True, ignore=ignore)
        elif part == "images":
            draw_images(folder)
        elif part.startswith("classes in "):
            draw_images(tmp_path / part)
            (tmp_path / part / "train").rename(folder / part.removeprefix("classes in "))
        elif part.startswith("images in "):
            draw_images(folder / part.removeprefix("images in "))
        elif part == "outputs":
            write_outputs(folder)
        elif part == "candidates":
            (block,) = (block for block in read_blocks("text") if block.section == section)
            (folder / "candidates.toml").write_text(block.text, encoding="utf-8")
        elif part == "student":
            write_student(folder / "models" / "birds")
        elif part.startswith("zoo.toml"):
            monkeypatch.chdir(folder / part.removeprefix("zoo.toml").removeprefix(" in "))
            ((init, *_),) = (plain_lines(block) or () for block in blocks_of(GUIDE))
            assert init[0] == "init"
            assert run(*init).code == 0
    run_blocks(section, folder, torch_home, monkeypatch)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completions_of_other_shells_are_written(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (block,) = read_blocks(shell)
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    (tmp_path / "zoo").write_text(SHELLS["zoo"], encoding="utf-8")
    (tmp_path / "zoo").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = f"fpath=({shlex.quote(str(tmp_path))} $fpath)\n" * (shell == "zsh") + block.text
    subprocess.run([shell, "-c", text], check=True, timeout=60)
    written = tmp_path / ("_zoo" if shell == "zsh" else ".config/fish/completions/zoo.fish")
    assert "distill" in written.read_text(encoding="utf-8")
