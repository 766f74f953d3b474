"""`zoo split`: draw labelled, unlabelled, test and probe images."""

from dataclasses import asdict
from typing import Annotated

import typer

from zoo_cli import config
from zoo_cli.answer_tables import show_answer
from zoo_cli.commands.options import HERE, DryRun, FollowLinks, MaxErrors, Overwrite, Seed, Workers, Workspace

Specs = list[str] | None


def split(
    train: Annotated[Specs, typer.Option("--train", metavar="SPEC", help="Training images. Repeatable.")] = None,
    test: Annotated[Specs, typer.Option("--test", metavar="SPEC", help="Test images. Repeatable.")] = None,
    unlabelled: Annotated[
        Specs, typer.Option("--unlabelled", metavar="SPEC", help="More images, without labels. Repeatable.")
    ] = None,
    labelled: Annotated[
        str | None, typer.Option("--labelled", metavar="N", help='"10%", "5/class", "1000" or "all".')
    ] = None,
    probe: Annotated[str | None, typer.Option("--probe", metavar="N", help='Size of the probe set, or "all".')] = None,
    probe_per_class: Annotated[
        int | None, typer.Option("--probe-per-class", metavar="N", help="Most probe images per class; 0: no limit.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="NAME", help="Draw another label set, with the same images: labels/NAME/."),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="NAME",
            help="decode every image, or read its header alone, for images known to be sound. [default: decode]",
        ),
    ] = None,
    max_errors: MaxErrors = None,
    seed: Seed = None,
    follow_links: FollowLinks = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the counts, and what the images showed, as JSON.")
    ] = False,
    workspace: Workspace = HERE,
) -> None:
    """Draw labelled, unlabelled and test images.

    Every image is checked and hashed once; what stood out is listed at the end: files that are not images, empty
    classes, copies, images of one colour. Values set by flags win over zoo.toml in every later command.

    With --labels, other images are labelled, drawn with --labelled, --seed, --probe and --probe-per-class, and kept
    beside the main set; the test images are the same. Later commands take --labels too.

    zoo split
    zoo split --train folder:pets/train --labelled 20% -C work
    zoo split --labels few --labelled 5%
    """
    from zoo_cli.pipeline import label_split
    from zoo_cli.pipeline import split as stage

    options = stage.SplitConfig(
        train=train,
        test=test,
        unlabelled=unlabelled,
        labelled=labelled,
        probe=probe,
        probe_per_class=probe_per_class,
        seed=seed,
        follow_links=follow_links or None,
        check=check,
        max_errors=max_errors,
        workers=workers,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    settings = config.load(workspace)
    if labels is not None:
        summary = label_split.split_labels(settings, labels, options)
    else:
        summary = stage.split(settings, options)
    if json and summary is not None:
        show_answer("zoo.split/1", asdict(summary), (), form="json")
