"""The names a user can type, as literal tables of "module:function". `specs` parses what is typed against them.

Listing names imports nothing: a module is imported when its entry is resolved. A method's parameters are its
keyword-only arguments; their annotations say how the text of a spec is converted.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One name of a table: where its function lives and what it is, in a line."""

    target: str
    summary: str


@dataclass(frozen=True)
class Metric(Entry):
    """A transferability metric, and the facts that the stages need before they import it.

    `on`: the representations it reads, its paper's own first. `zero_means_none`: zero is "no similarity", so that
    negative scores are clipped before weighting. `leave_one_out`: the function of its scores without each sample, from
    which the jackknife makes its interval; empty: the interval is made from halves of the probe, see `selection`.
    `ceiling`: the highest value it can have, or the function of it; None: it has none. `needs`: names of further arrays
    of a `Probe` that it reads, see `stages.inputs`. `cheap`: one of the papers' scores that takes seconds at most,
    which `zoo score` computes where nothing is asked for. `chance`: its level where nothing is shared, the mean under
    permuted "labels" or a number known by theory; None: it asks for no agreement, and has none. `member`, `joined`: of
    a score that sets of sources have too, the function of one source's part (N,), and that of the parts of several
    (S, N), see `stages.ensembles`. `fifths`: its interval is made from four fifths of the probe, because on halves it
    saturates or bends; `logarithmic`: and on the logarithm of its size, see `selection.halves`. `distribution`: it
    reads a distribution over the source's classes, which a source whose `output` is "sigmoid" has not.
    """

    on: tuple[str, ...] = ("features",)
    zero_means_none: bool = False
    leave_one_out: str = ""
    ceiling: float | str | None = None
    needs: tuple[str, ...] = ()
    cheap: bool = False
    chance: float | str | None = "labels"
    member: str = ""
    joined: str = ""
    fifths: bool = False
    logarithmic: bool = False
    distribution: bool = False


@dataclass(frozen=True)
class Objective(Entry):
    """A training objective.

    `command`: the training command that offers it.
    `needs_teacher`: learns from teachers with the student's own classes (general transfer, paper 002); its class takes
    a teacher context, see `objectives.teacher_context`.
    `labels`: True: learns from the labelled images alone, with their labels; False: from all images; a string: the
    parameter that decides.
    `lr` (for a batch of 256 if `needs_teacher`), `epochs`, `schedule`, `batch_size`, `augment`: the values of its
    paper, the defaults of these flags.
    `nesterov`: SGD uses Nesterov momentum.
    """

    command: str = "distill"
    needs_teacher: bool = False
    labels: bool | str = False
    lr: float = 0.01
    epochs: float = 30.0
    schedule: str = "cosine"
    batch_size: int = 128
    augment: str = "crop"
    nesterov: bool = False


COMMANDS: dict[str, str] = {
    "init": "zoo_cli.pipeline.init:init",
    "split": "zoo_cli.pipeline.split:split",
    "extract": "zoo_cli.pipeline.extract:extract",
    "score": "zoo_cli.pipeline.score:score",
    "rank": "zoo_cli.pipeline.rank:rank",
    "pseudo-label": "zoo_cli.pipeline.pseudo_label:pseudo_label",
    "distill": "zoo_cli.commands.distill:distill",
    "finetune": "zoo_cli.commands.finetune:finetune",
    "evaluate accuracy": "zoo_cli.pipeline.evaluate.accuracy:accuracy",
    "evaluate flips": "zoo_cli.pipeline.evaluate.flips:flips",
    "evaluate transfer": "zoo_cli.pipeline.evaluate.transfer:transfer",
    "evaluate ranking": "zoo_cli.pipeline.evaluate.ranking:ranking",
    "sources": "zoo_cli.pipeline.sources:sources",
    "show": "zoo_cli.pipeline.show:show",
    "demo": "zoo_cli.pipeline.demo:demo",
    "completion": "zoo_cli.commands.completion:completion",
}
"""Every command and its function, whose docstring begins with the command's summary. In the order of the pipeline."""

GROUPS: dict[str, str] = {"evaluate": "What a student, or any stored predictions, are worth."}
"""Commands of two words: the first word, and what they are about."""

METRICS: dict[str, Metric] = {
    "parc": Metric(
        "zoo_cli.metrics.parc:parc",
        "rank correlation of feature distances with label distances (Bolya 2021)",
        on=("features", "probs"),
        zero_means_none=True,
        leave_one_out="zoo_cli.metrics.parc:leave_one_out",
        ceiling="zoo_cli.metrics.parc:ceiling",
        cheap=True,
    ),
    "rsa": Metric(
        "zoo_cli.metrics.rsa:rsa",
        "as parc, with the label columns standardised too (Dwivedi and Roig 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling="zoo_cli.metrics.rsa:ceiling",
        cheap=True,
    ),
    "cka": Metric(
        "zoo_cli.metrics.cka:cka",
        "linear centred kernel alignment of features and labels (Kornblith 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        cheap=True,
    ),
    "lfc": Metric(
        "zoo_cli.metrics.lfc:lfc",
        "label-feature correlation of the Gram matrix (Deshpande 2021)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        cheap=True,
    ),
    "lgc": Metric(
        "zoo_cli.metrics.lgc:lgc",
        "as lfc, of the gradients of the source's outputs: zoo extract --gradients (Deshpande 2021)",
        on=("gradients",),
        zero_means_none=True,
        ceiling=1.0,
        needs=("gradients_sum", "projected_gradients"),
    ),
    "leep": Metric(
        "zoo_cli.metrics.leep:leep",
        "log-likelihood of the labels through the source's classes (Nguyen 2020)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        cheap=True,
    ),
    "random": Metric(
        "zoo_cli.metrics.random_score:random", "a draw for the source's name: the control", cheap=True, chance=0.5
    ),
    "logme": Metric("zoo_cli.metrics.logme:logme", "log evidence of a linear model on the features (You 2021)"),
    "hscore": Metric(
        "zoo_cli.metrics.hscore:hscore",
        "what the features' directions hold of the labels; shrunk=true for N < D (Bao 2019)",
        ceiling="zoo_cli.metrics.hscore:ceiling",
        fifths=True,
    ),
    "nce": Metric(
        "zoo_cli.metrics.nce:nce",
        "minus the entropy of the labels given the source's class (Tran 2019)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
    ),
    "knn": Metric("zoo_cli.metrics.knn:knn", "accuracy of the k nearest other samples", ceiling=1.0),
    "ridge": Metric("zoo_cli.metrics.ridge:ridge", "linear probe on the sample left out, in closed form", ceiling=1.0),
    "transrate": Metric(
        "zoo_cli.metrics.transrate:transrate", "coding rate less that within the classes (Huang 2022)", fifths=True
    ),
    "gbc": Metric(
        "zoo_cli.metrics.gbc:gbc",
        "minus the overlap of the classes as Gaussians (Pándy 2022)",
        ceiling="zoo_cli.metrics.gbc:ceiling",
        fifths=True,
        logarithmic=True,
    ),
    "sfda": Metric(
        "zoo_cli.metrics.sfda:sfda",
        "confidence of a self-challenging discriminant analysis (Shao 2022)",
        ceiling=1.0,
        fifths=True,
    ),
    "rsa-ref": Metric(
        "zoo_cli.metrics.rsa_ref:rsa_ref",
        "agreement with a network trained on the target, --reference (Dwivedi and Roig 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        needs=("reference",),
        cheap=True,
        chance=0.0,
    ),
    "domain-similarity": Metric(
        "zoo_cli.metrics.domain_similarity:domain_similarity",
        "earth mover's distance of the source's class means to the target's (Cui 2018)",
        leave_one_out="zoo_cli.metrics.domain_similarity:leave_one_out",
        ceiling=1.0,
        needs=("source_means", "source_counts"),
        cheap=True,
        chance=None,
    ),
    "sparsity": Metric(
        "zoo_cli.metrics.sparsity:sparsity",
        "share of features that are zero: assumed, our reading of Ueno and Kondo 2020",
        leave_one_out="zoo_cli.metrics.sparsity:leave_one_out",
        ceiling=1.0,
        cheap=True,
        chance=None,
    ),
    "nleep": Metric(
        "zoo_cli.metrics.nleep:nleep",
        "leep through a mixture of Gaussians of the features, extra metrics (Li 2021)",
        on=("features", "probs"),
        ceiling=0.0,
    ),
    "ms-leep": Metric(
        "zoo_cli.metrics.ms_leep:ms_leep",
        "mean leep of a set of sources (Agostinelli 2022)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        member="zoo_cli.metrics.leep:predictions",
        joined="zoo_cli.metrics.ms_leep:joined",
    ),
    "e-leep": Metric(
        "zoo_cli.metrics.e_leep:e_leep",
        "leep of the mean prediction of a set of sources (Agostinelli 2022)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        member="zoo_cli.metrics.leep:predictions",
        joined="zoo_cli.metrics.e_leep:joined",
    ),
}

DEFAULT_METRIC, DEFAULT_WEIGHTING = "parc", "p=12"
"""The defaults of --metric and --weighting, here because several commands share them."""

WEIGHTINGS: dict[str, Entry] = {
    "power": Entry("zoo_cli.weighting.power:power", "similarity to the power p; short: p=2 (paper 000, eq. 5)"),
    "equal": Entry("zoo_cli.weighting.power:equal", "the same weight for every source (p=0)"),
    "nearest": Entry("zoo_cli.weighting.power:nearest", "the best source alone (p=inf)"),
    "softmax": Entry("zoo_cli.weighting.softmax:softmax", "softmax of the raw scores at temperature T"),
    "topk": Entry("zoo_cli.weighting.topk:topk", "the k best sources, then power p among them"),
    "random": Entry("zoo_cli.weighting.random_weights:random", "a draw from the flat Dirichlet distribution"),
    "inverse": Entry("zoo_cli.weighting.inverse:inverse", "the worst sources most: the control experiment"),
    "file": Entry("zoo_cli.weighting.file:file", "weights read from a JSON file"),
}

OBJECTIVES: dict[str, Objective] = {
    "cross-task": Objective(
        "zoo_cli.objectives.cross_task:CrossTask",
        "labels and the weighted pseudo-labels of many sources (paper 000, eq. 4)",
    ),
    "supervised": Objective(
        "zoo_cli.objectives.supervised:Supervised",
        "labels alone (paper 000, eq. 2)",
        command="finetune",
        labels=True,
        schedule="steps",
        batch_size=32,
        nesterov=True,
    ),
    "fixmatch": Objective(
        "zoo_cli.objectives.fixmatch:FixMatch",
        "labels, and confident answers on weak views as labels of strong ones (Sohn 2020)",
        command="finetune",
        augment="shift",
        nesterov=True,
    ),
    "kl": Objective(
        "zoo_cli.objectives.kl:KL",
        "the answers of a teacher of the same classes (paper 002, KL-Dist)",
        needs_teacher=True,
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "xe-kl": Objective(
        "zoo_cli.objectives.xe_kl:XeKL",
        "labels and a teacher's answers; alpha=0.5 of the teacher (paper 002, XE-KL-Dist)",
        needs_teacher=True,
        labels=True,
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "mcl": Objective(
        "zoo_cli.objectives.mcl:MCL",
        "as xe-kl, held back by slow weights; retention=0.61 of the old ones (paper 002, + MCL)",
        needs_teacher=True,
        labels=True,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "dp": Objective(
        "zoo_cli.objectives.dp:DP",
        "a teacher's answers where it knows better, else the student's own; labels=false (paper 002, + DP)",
        needs_teacher=True,
        labels="labels",
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
}

MODELS: dict[str, Entry] = {
    "torchvision": Entry("zoo_cli.models.torchvision:load", "torchvision:resnet50, weights by name or file"),
    "timm": Entry("zoo_cli.models.timm:load", "timm:NAME (extra timm), weights by tag or file"),
    "python": Entry("zoo_cli.models.python:load", "python:FILE.py:FACTORY with args and a weights file"),
    "file": Entry("zoo_cli.models.file:load", "file:FOLDER, a run of zoo or a timm / Hugging Face folder"),
    "features": Entry("zoo_cli.models.features:load", "features:PATH, stored embeddings or logits, no model at all"),
}

DATA: dict[str, Entry] = {
    "folder": Entry("zoo_cli.data.folder:read", "folder:PATH, one folder a class, or flat for unlabelled images"),
    "parquet": Entry("zoo_cli.data.parquet:read", "parquet:GLOB in the Hugging Face layout"),
    "csv": Entry("zoo_cli.data.csv_table:read", "csv:FILE with columns path, label, id, group"),
    "torchvision": Entry("zoo_cli.data.torchvision:read", "torchvision:NAME?root=PATH&train=true, a data set on disk"),
}

TABLES: dict[str, Mapping[str, Entry]] = {
    "metric": METRICS,
    "weighting": WEIGHTINGS,
    "objective": OBJECTIVES,
    "model provider": MODELS,
    "data provider": DATA,
}


def load(entry: Entry) -> Callable[..., Any]:
    """The function an entry points to."""
    return imported(entry.target)


def imported(target: str) -> Callable[..., Any]:
    """The function that "module:function" names. Its module is imported here and not before."""
    module, _, attribute = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def summary(command: str) -> str:
    """What a command does: the first line of its function's docstring."""
    return (imported(COMMANDS[command]).__doc__ or "").strip().partition("\n")[0]
