"""The commands, as a literal table of "module:function"; listing them imports none of the modules."""

from zoo_cli.registry import import_target

COMMANDS: dict[str, str] = {
    "init": "zoo_cli.commands.init:init",
    "split": "zoo_cli.commands.split:split",
    "extract": "zoo_cli.commands.extract:extract",
    "score": "zoo_cli.commands.score:score",
    "rank": "zoo_cli.commands.rank:rank",
    "pseudo-label": "zoo_cli.commands.pseudo_label:pseudo_label",
    "distill": "zoo_cli.commands.distill:distill",
    "finetune": "zoo_cli.commands.finetune:finetune",
    "expert": "zoo_cli.commands.expert:expert",
    "tune": "zoo_cli.commands.tune:tune",
    "evaluate accuracy": "zoo_cli.commands.evaluate.accuracy:accuracy",
    "evaluate flips": "zoo_cli.commands.evaluate.flips:flips",
    "evaluate transfer": "zoo_cli.commands.evaluate.transfer:transfer",
    "evaluate ranking": "zoo_cli.commands.evaluate.ranking:ranking",
    "evaluate overlap": "zoo_cli.commands.evaluate.overlap:overlap",
    "evaluate cost": "zoo_cli.commands.evaluate.selection_cost:cost",
    "predict": "zoo_cli.commands.predict:predict",
    "export": "zoo_cli.commands.export:export",
    "plan": "zoo_cli.commands.plan:plan",
    "status": "zoo_cli.commands.status:status",
    "sources": "zoo_cli.commands.sources:sources",
    "show": "zoo_cli.commands.show:show",
    "report": "zoo_cli.commands.report:report",
    "verify": "zoo_cli.commands.verify:verify",
    "doctor": "zoo_cli.commands.doctor:doctor",
    "demo": "zoo_cli.commands.demo:demo",
    "completion": "zoo_cli.commands.completion:completion",
}
"""Every command and its function, whose docstring begins with the command's summary. In the order of the pipeline."""

OF_SEVERAL_PROCESSES = ("extract", "distill", "finetune")
"""The commands that share their work among the processes of torchrun; the others refuse to run in several."""

WITHOUT_NETWORKS = ("init", "split", "plan", "status", "show", "report", "verify", "doctor", "demo", "completion")
"""The commands that load no network of the user's; the others take --trust."""

SECTIONS = {
    "Set up": "init",
    "Sources": "extract",
    "Train": "distill",
    "Judge": "evaluate",
    "Use": "predict",
    "Look": "plan",
}
"""The titles of `zoo --help`, each with the first of its commands; the others follow in the order of COMMANDS."""

GROUPS: dict[str, str] = {"evaluate": "Evaluate students, transfers and rankings."}  # the first of two words


def summary(command: str) -> str:
    """The summary of a command: the first line of its function's docstring."""
    return (import_target(COMMANDS[command]).__doc__ or "").strip().partition("\n")[0]
