# The recipes of every day. `just` lists them.

test:
    pytest

slow:
    pytest -m slow

lint:
    ruff check .
    ruff format --check .
    mypy

# README's generated blocks and the completions, from the code
docs:
    python -m zoo_cli.commands.readme README.md
    zoo completion bash > completions/zoo.bash
    zoo completion zsh > completions/_zoo
    zoo completion fish > completions/zoo.fish

# ratios within one run; figures go into tests/bench/README.md
bench:
    OMP_NUM_THREADS=1 python -m tests.bench.bench_startup
    OMP_NUM_THREADS=1 python -m tests.bench.bench_files
    OMP_NUM_THREADS=1 python -m tests.bench.bench_extract
    OMP_NUM_THREADS=1 python -m tests.bench.bench_heads
    OMP_NUM_THREADS=1 python -m tests.bench.bench_step
    OMP_NUM_THREADS=1 python tests/bench/bench_parc.py
    OMP_NUM_THREADS=1 python -m tests.bench.bench_scores
