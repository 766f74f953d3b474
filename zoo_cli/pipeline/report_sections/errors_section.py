"""The sections on the errors of the best run: what it takes for what, and how sure it is."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from zoo_cli.counts import count_things
from zoo_cli.evaluation.confidence_bins import bin_confidences
from zoo_cli.evaluation.confusions import confusion_counts, frequent_confusions
from zoo_cli.evaluation.predictions import load_predictions
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs
from zoo_cli.report.blocks import Block, Column, Paragraph, Plot, Table
from zoo_cli.report.matrix_plot import plot_matrix
from zoo_cli.report.reliability_plot import Reliability, plot_reliability
from zoo_cli.report.wording import quote_name, show_name, show_number, show_percent

MOST_CLASSES = 30
"""The number of classes in the matrix: those with the most errors."""
MOST_PAIRS = 15


def confusion_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on confusions."""
    run_set = inputs.need_runs()
    samples, best = run_set.samples, run_set.best.run
    names = samples.classes
    counts = confusion_counts(samples.labels, run_set.predicted[best], len(names))
    pairs = frequent_confusions(counts, MOST_PAIRS)
    if pairs:
        first = pairs[0]
        yield Paragraph(
            f"{quote_name(best)} most often takes {quote_name(names[first.true])} for "
            f"{quote_name(names[first.predicted])}: {first.count:,} of {count_things(first.of, 'image')}.",
            "lead",
        )
    else:
        yield Paragraph(f"{quote_name(best)} has every test image right.", "lead")
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    occurring = counts.sum(axis=1) > 0
    chosen = np.sort(np.argsort(-wrong - occurring * 0.5, kind="stable")[:MOST_CLASSES])
    sizes = np.maximum(counts.sum(axis=1), 1)
    cells = counts[np.ix_(chosen, chosen)]
    shares = cells / sizes[chosen][:, None]
    shown = [names[c] for c in chosen]
    texts = np.array([[f"{count}" if count else "" for count in line] for line in cells], dtype=object)
    more = f" The {len(chosen)} of {len(names):,} classes with the most errors." if len(chosen) < len(names) else ""
    yield Plot(
        "confusions",
        f"Confusion matrix of {count_things(len(chosen), 'class')}: {show_percent(run_set.best.accuracy)} of all "
        "images are on the diagonal",
        "Rows are true classes, columns predicted ones; the shade is the share of the row." + more,
        partial(plot_matrix, shares, shown, shown, ("true class", "predicted class"), texts=texts),
    )
    if pairs:
        yield Table(
            "The most frequent confusions",
            (Column("true class", False), Column("taken for", False), Column("images"), Column("share of the class")),
            tuple(
                (
                    show_name(names[pair.true]),
                    show_name(names[pair.predicted]),
                    f"{pair.count:,}",
                    show_percent(pair.count / pair.of),
                )
                for pair in pairs
            ),
            folded=True,
        )


def calibration_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on calibration: of the first run and the best."""
    run_set = inputs.need_runs()
    rows = list(dict.fromkeys((run_set.first, run_set.best)))
    runs = []
    for row in rows:
        stored = load_predictions(run_set.folder(row.run))
        bins = bin_confidences(stored.labels, stored.logits)
        runs.append(Reliability(row.run, bins.counts, bins.confidence, bins.accuracy, row is run_set.best))
    errors = " and ".join(f"{show_percent(row.ece)} of {quote_name(row.run)}" for row in rows)
    yield Paragraph(f"Expected calibration error: {errors}.", "lead")
    yield Plot(
        "reliability",
        "Reliability diagram: "
        + ", ".join(f"{show_name(row.run)} has an error of {show_number(row.ece)}" for row in rows),
        "How often predictions of a confidence are right. On the dashed line they are right as often as they claim; "
        "below it they are too sure. The columns show how many images there are at each confidence.",
        partial(plot_reliability, runs),
    )
