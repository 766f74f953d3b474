"""The section on complementary knowledge: what each run has right that another has wrong."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from zoo_cli.errors import UsageError
from zoo_cli.evaluation import flip_statistics
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs, RunSet
from zoo_cli.report.blocks import Block, Column, Paragraph, Plot, Table
from zoo_cli.report.matrix_plot import plot_matrix
from zoo_cli.report.wording import quote_name, show_name, show_number, show_percent

MOST = 24
"""The number of runs in the matrix: the most accurate ones, and the first."""


def knowledge_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section."""
    run_set = inputs.need_runs()
    if len(run_set.predicted) < 2:
        raise UsageError("fewer than two runs on the same test images", "zoo distill trains another student")
    names = _choose_runs(run_set)
    shares = _complementary(run_set, names)
    teacher, student = np.unravel_index(int(np.nanargmax(shares)), shares.shape)
    best = names.index(run_set.best.run)
    of_best = [(shares[line, best], names[line]) for line in range(len(names)) if line != best]
    most, knows_more = max(of_best, key=lambda pair: pair[0])
    learns = (
        f"Even the best run can learn: {quote_name(knows_more)} has {show_percent(float(most))} of the test images "
        f"right that {quote_name(names[best])} has wrong."
    )
    nothing = f"No other run has a test image right that {quote_name(names[best])} has wrong."
    yield Paragraph(learns if most > 0 else nothing, "lead")
    top = float(np.nanmax(shares)) or 1.0
    texts = np.array([[f"{100 * s:.1f}" if np.isfinite(s) else "" for s in line] for line in shares], dtype=object)
    more = (
        f" The {len(names)} most accurate of {len(run_set.predicted)} runs."
        if len(names) < len(run_set.predicted)
        else ""
    )
    yield Plot(
        "knowledge",
        f"Complementary knowledge of {len(names)} runs, at most {show_percent(top)}: what {show_name(names[teacher])} "
        f"knows and {show_name(names[student])} does not",
        "The share of the test images, in percent, that the run of a row has right and the run of a column wrong."
        + more,
        partial(plot_matrix, shares, names, names, ("has it right", "has it wrong"), texts=texts, top=top, marked=best),
    )
    yield Table(
        "The same as a table, in percent: rows are right, columns wrong",
        (Column("run", False), *(Column(show_name(name, 24)) for name in names)),
        tuple(
            (show_name(name), *(show_number(100 * float(share), ".1f") for share in line))
            for name, line in zip(names, shares, strict=True)
        ),
        folded=True,
    )


def _choose_runs(run_set: RunSet) -> list[str]:
    rows = [row for row in run_set.accuracy.rows if row.run in run_set.predicted]
    rows = sorted(rows, key=lambda row: -row.accuracy)
    first = run_set.first
    chosen = rows[:MOST] if first in rows[:MOST] else [*rows[: MOST - 1], first]
    return [row.run for row in chosen]


def _complementary(run_set: RunSet, names: list[str]) -> np.ndarray:
    """Shares (R, R): of samples that the run of a line has right and that of a column wrong; NaN on the diagonal."""
    labels, predicted = run_set.samples.labels, run_set.predicted
    shares = np.full((len(names), len(names)), np.nan)
    for line, teacher in enumerate(names):
        for column, student in enumerate(names):
            if teacher != student:
                before = predicted[student]
                statistics = flip_statistics.teacher_statistics(labels, before, before, predicted[teacher])
                shares[line, column] = statistics.complementary
    return shares
