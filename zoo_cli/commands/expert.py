"""`zoo expert`: flags to an expert of one or several domains."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import config, console
from zoo_cli.answer_tables import show_answer
from zoo_cli.commands.options import HERE, DryRun, Format, Json, Overwrite, Seed, Workspace
from zoo_cli.commands.training_flags import RUN_FIELDS, with_config_flags
from zoo_cli.pipeline.expert_config import KINDS, PER_DOMAIN, ExpertConfig, parse_domains
from zoo_cli.training.training_config import TrainingConfig

LEARN = "What to learn from"


@with_config_flags
def expert(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="SPEC",
            help="Training images of a domain: PROVIDER:PATH, or NAME=PROVIDER:PATH. Repeatable, with --multi.",
            rich_help_panel=LEARN,
        ),
    ],
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            metavar="SPEC",
            help="Test images: a share of --data, or PROVIDER:PATH; NAME=SPEC for one domain. [default: 20%]",
            rich_help_panel=LEARN,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="SPEC",
            help="Network: PROVIDER:NAME, or a source by name.",
            rich_help_panel="Network",
        ),
    ],
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="SPEC",
            help="Source whose weights initialise the network but for its head. [default: those of --model]",
            rich_help_panel="Network",
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            "--input-size",
            metavar="N",
            help="Side of the input in pixels. [default: the model's, else 224]",
            rich_help_panel="Network",
        ),
    ] = None,
    multi: Annotated[
        str | None,
        typer.Option(
            "--multi",
            metavar="KIND",
            help=f"One network for several domains: {', '.join(KINDS[:-1])} or {KINDS[-1]}.",
            rich_help_panel="Network",
        ),
    ] = None,
    per_domain: Annotated[
        int | None,
        typer.Option(
            "--per-domain",
            metavar="N",
            help="With --multi: images of each domain in an epoch. "
            f"[default: those of the largest, at most {PER_DOMAIN:,}]",
            rich_help_panel="Training",
        ),
    ] = None,
    training: TrainingConfig,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of the expert, used as given.", rich_help_panel="Files"),
    ],
    seed: Seed = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a source on data of your own.

    The folder is a source, file:DIR, that carries its preprocessing, classes, training data and class means.

    One network learns several domains with --multi: shared has a head for each, multi-bn also batch norms, adapter also
    1x1 convolutions beside those of 3x3. Each domain is then a source of its own, file:DIR#NAME.

    zoo expert --data folder:birds --model torchvision:resnet18 --out zoo/birds
    zoo expert --data folder:birds --data folder:cars --model torchvision:resnet18 --multi multi-bn --out zoo/two
    """
    from zoo_cli.pipeline import expert as stage

    options = ExpertConfig(
        parse_domains(data, test or ()),
        model,
        out,
        init=init,
        multi=multi,
        per_domain=per_domain,
        input_size=input_size,
        seed=seed,
        overwrite=overwrite,
    )
    settings = config.load(workspace)
    if dry_run:
        console.say(f"would train {stage.preview(settings, options, training)}")
        return
    result = stage.expert(settings, options, training)
    show_answer("zoo.expert/1", [result.row], RUN_FIELDS, form="json" if json else form)
