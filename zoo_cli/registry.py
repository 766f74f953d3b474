"""The names a user can type, as literal tables of "module:function"; listing them imports none of the modules."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from zoo_cli.entries import Entry, Metric, Objective

METRICS: dict[str, Metric] = {
    "parc": Metric(
        "zoo_cli.metrics.parc:parc",
        "rank correlation of feature distances with label distances (Bolya 2021)",
        on=("features", "probs"),
        zero_means_none=True,
        leave_one_out="zoo_cli.metrics.parc:leave_one_out",
        ceiling="zoo_cli.metrics.parc:ceiling",
        cheap=True,
        pair_variance="zoo_cli.metrics.parc:pair_variance",
        margin=0.02,
        pairs=True,
    ),
    "rsa": Metric(
        "zoo_cli.metrics.rsa:rsa",
        "as parc, with the label columns standardised too (Dwivedi and Roig 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling="zoo_cli.metrics.rsa:ceiling",
        cheap=True,
        margin=0.02,
        pairs=True,
        on_subsamples="zoo_cli.metrics.rsa:on_subsamples",
        on_permutations="zoo_cli.metrics.rsa:on_permutations",
        subsamples=16,
    ),
    "cka": Metric(
        "zoo_cli.metrics.cka:cka",
        "linear centred kernel alignment of features and labels (Kornblith 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        cheap=True,
        margin=0.02,
        streams=True,
        on_subsamples="zoo_cli.metrics.cka:on_subsamples",
    ),
    "lfc": Metric(
        "zoo_cli.metrics.lfc:lfc",
        "label-feature correlation of the Gram matrix (Deshpande 2021)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        cheap=True,
        margin=0.02,
        streams=True,
        on_subsamples="zoo_cli.metrics.lfc:on_subsamples",
    ),
    "lgc": Metric(
        "zoo_cli.metrics.lgc:lgc",
        "as lfc, on the gradients of the source's outputs; needs zoo extract --gradients (Deshpande 2021)",
        on=("gradients",),
        zero_means_none=True,
        ceiling=1.0,
        needs=("gradients_sum", "projected_gradients"),
        margin=0.02,
        on_subsamples="zoo_cli.metrics.lgc:on_subsamples",
    ),
    "leep": Metric(
        "zoo_cli.metrics.leep:leep",
        "log-likelihood of the labels through the source's classes (Nguyen 2020)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        cheap=True,
        on_subsamples="zoo_cli.metrics.leep:on_subsamples",
    ),
    "random": Metric(
        "zoo_cli.metrics.random_score:random",
        "a random number: the control",
        cheap=True,
        chance=0.5,
        on_subsamples="zoo_cli.metrics.random_score:on_subsamples",
    ),
    "logme": Metric(
        "zoo_cli.metrics.logme:logme",
        "log evidence of a linear model on the features (You 2021)",
        on_subsamples="zoo_cli.metrics.logme:on_subsamples",
        on_permutations="zoo_cli.metrics.logme:on_permutations",
        subsamples=16,
    ),
    "hscore": Metric(
        "zoo_cli.metrics.hscore:hscore",
        "variance of the whitened features between classes; shrunk=true for N < D (Bao 2019)",
        ceiling="zoo_cli.metrics.hscore:ceiling",
        four_fifths=True,
        pairs=True,
        on_subsamples="zoo_cli.metrics.hscore:on_subsamples",
        on_permutations="zoo_cli.metrics.hscore:on_permutations",
        subsamples=16,
    ),
    "nce": Metric(
        "zoo_cli.metrics.nce:nce",
        "negative conditional entropy of the labels given the source's class (Tran 2019)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
    ),
    "knn": Metric(
        "zoo_cli.metrics.knn:knn",
        "leave-one-out accuracy of k nearest neighbours",
        ceiling=1.0,
        margin=0.02,
        pairs=True,
        on_subsamples="zoo_cli.metrics.knn:on_subsamples",
    ),
    "ridge": Metric(
        "zoo_cli.metrics.ridge:ridge",
        "leave-one-out R² of ridge regression in closed form",
        ceiling=1.0,
        margin=0.02,
        pairs=True,
        subsamples=16,
    ),
    "transrate": Metric(
        "zoo_cli.metrics.transrate:transrate",
        "coding rate minus that of the classes (Huang 2022)",
        four_fifths=True,
        on_subsamples="zoo_cli.metrics.transrate:on_subsamples",
    ),
    "gbc": Metric(
        "zoo_cli.metrics.gbc:gbc",
        "negative overlap of the classes as Gaussians (Pándy 2022)",
        ceiling="zoo_cli.metrics.gbc:ceiling",
        four_fifths=True,
        logarithmic=True,
        on_subsamples="zoo_cli.metrics.gbc:on_subsamples",
        subsamples=16,
    ),
    "sfda": Metric(
        "zoo_cli.metrics.sfda:sfda",
        "confidence of a self-challenging discriminant analysis (Shao 2022)",
        ceiling=1.0,
        four_fifths=True,
        pairs=True,
        subsamples=8,
        permutations=5,
    ),
    "rsa-ref": Metric(
        "zoo_cli.metrics.rsa_ref:rsa_ref",
        "similarity to a network trained on the target, --reference (Dwivedi and Roig 2019)",
        on=("features", "probs"),
        zero_means_none=True,
        ceiling=1.0,
        needs=("reference",),
        cheap=True,
        chance=0.0,
        subsamples=16,
    ),
    "domain-similarity": Metric(
        "zoo_cli.metrics.domain_similarity:domain_similarity",
        "similarity of the class means of source and target, by earth mover's distance (Cui 2018)",
        leave_one_out="zoo_cli.metrics.domain_similarity:leave_one_out",
        ceiling=1.0,
        needs=("source_means", "source_counts"),
        cheap=True,
        chance=None,
        memory="zoo_cli.metrics.domain_similarity:needed_memory",
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
        "leep through a Gaussian mixture on the features; extra metrics (Li 2021)",
        on=("features", "probs"),
        ceiling=0.0,
        memory="zoo_cli.metrics.nleep:needed_memory",
        subsamples=16,
    ),
    "ms-leep": Metric(
        "zoo_cli.metrics.ms_leep:ms_leep",
        "mean leep of a set of sources (Agostinelli 2022)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        member="zoo_cli.metrics.leep:predictions",
        joined="zoo_cli.metrics.ms_leep:joined",
        on_subsamples="zoo_cli.metrics.leep:on_subsamples",
    ),
    "e-leep": Metric(
        "zoo_cli.metrics.e_leep:e_leep",
        "leep of the mean prediction of a set of sources (Agostinelli 2022)",
        on=("probs",),
        ceiling=0.0,
        distribution=True,
        member="zoo_cli.metrics.leep:predictions",
        joined="zoo_cli.metrics.e_leep:joined",
        on_subsamples="zoo_cli.metrics.leep:on_subsamples",
    ),
}

DEFAULT_METRIC, DEFAULT_WEIGHTING = "parc", "p=12"  # shared by several commands
DEFAULT_MIN_WEIGHT = 1e-4

WEIGHTINGS: dict[str, Entry] = {
    "power": Entry("zoo_cli.weighting.power:power", "similarity to the power p; short: p=2 (paper 000, eq. 5)"),
    "equal": Entry("zoo_cli.weighting.power:equal", "the same weight for every source (p=0)"),
    "nearest": Entry("zoo_cli.weighting.power:nearest", "the best source alone (p=inf)"),
    "softmax": Entry("zoo_cli.weighting.softmax:softmax", "softmax of the raw scores at temperature T"),
    "topk": Entry("zoo_cli.weighting.topk:topk", "the k best sources, then power p among them"),
    "random": Entry("zoo_cli.weighting.random_weights:random", "random weights from the flat Dirichlet distribution"),
    "inverse": Entry("zoo_cli.weighting.inverse:inverse", "the worst sources most: the control experiment"),
    "file": Entry("zoo_cli.weighting.file:file", "weights read from a JSON file"),
}

DEFAULT_HEAD, DEFAULT_POOL = "ridge", "product"

HEADS: dict[str, Entry] = {
    "ridge": Entry("zoo_cli.heads.ridge:ridge", "ridge regression of the one-hot labels, in closed form"),
    "ncm": Entry("zoo_cli.heads.ncm:ncm", "softmax over the squared distances to the class means"),
    "logistic": Entry("zoo_cli.heads.logistic:logistic", "multinomial logistic regression; extra metrics"),
}

POOLS: dict[str, Entry] = {
    "product": Entry("zoo_cli.heads.product:product", "the product of the answers of kernel and spread"),
    "kernel": Entry("zoo_cli.heads.kernel:kernel", "ridge regression on the weighted sum of the sources' kernels"),
    "logmean": Entry("zoo_cli.heads.logmean:logmean", "the mean of the log-probabilities of all heads"),
    "spread": Entry(
        "zoo_cli.heads.spread:spread",
        "label spreading over nearest neighbours, with the class shares of kernel (Zhou 2004)",
    ),
    "best": Entry("zoo_cli.heads.best:best", "the head of the source that weighs most"),
}

OBJECTIVES: dict[str, Objective] = {
    "cross-task": Objective(
        "zoo_cli.objectives.cross_task:CrossTask",
        "labels and the weighted pseudo-labels of many sources (paper 000, eq. 4)",
        lam=0.8,
        augment="affine",
    ),
    "heads": Objective(
        "zoo_cli.objectives.heads:Heads",
        "labels, and what heads on the sources' features answer together in the task's classes",
        lam=0.2,
        augment="affine",
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
        "labels, and confident predictions on weak views as labels of strong views (Sohn 2020)",
        command="finetune",
        augment="shift",
        nesterov=True,
    ),
    "kl": Objective(
        "zoo_cli.objectives.kl:KL",
        "predictions of a teacher with the same classes (paper 002, KL-Dist)",
        needs_teacher=True,
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "xe-kl": Objective(
        "zoo_cli.objectives.xe_kl:XeKL",
        "labels and a teacher's predictions, which weigh alpha=0.5 (paper 002, XE-KL-Dist)",
        needs_teacher=True,
        labels=True,
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "mcl": Objective(
        "zoo_cli.objectives.mcl:MCL",
        "as xe-kl, averaged into slow weights that retain 0.61 of the original (paper 002, + MCL)",
        needs_teacher=True,
        labels=True,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
    "dp": Objective(
        "zoo_cli.objectives.dp:DP",
        "predictions of the teacher where it is better, else of the student itself (paper 002, + DP)",
        needs_teacher=True,
        labels="labels",
        lr=1e-4,
        epochs=20.0,
        schedule="constant",
        augment="flip",
    ),
}

MODELS: dict[str, Entry] = {
    "torchvision": Entry(
        "zoo_cli.models.torchvision:load_torchvision", "torchvision:resnet50, weights by name or file"
    ),
    "timm": Entry(
        "zoo_cli.models.timm:load_timm", "timm:NAME or timm:hf-hub:ORG/NAME (extra timm), weights by tag or file"
    ),
    "transformers": Entry(
        "zoo_cli.models.transformers:load_transformers",
        "transformers:ORG/NAME or a folder with a slash (extra transformers)",
    ),
    "clip": Entry(
        "zoo_cli.models.clip:load_clip", "clip:NAME of open_clip (extra clip), zero-shot in the classes of the task"
    ),
    "python": Entry("zoo_cli.models.python:load_python", "python:FILE.py:FACTORY with args and a weights file"),
    "file": Entry("zoo_cli.models.file:load_folder", "file:FOLDER, a run of zoo or a folder of timm or transformers"),
    "onnx": Entry("zoo_cli.models.onnx:load_onnx", "onnx:FILE (extra onnx), to be run but not trained"),
    "features": Entry(
        "zoo_cli.models.features:load_features", "features:PATH, stored embeddings or logits without a model"
    ),
}

DATA: dict[str, Entry] = {
    "folder": Entry(
        "zoo_cli.data.folder:read_folder", "folder:PATH, one folder per class, or flat for unlabelled images"
    ),
    "parquet": Entry(
        "zoo_cli.data.parquet:read_parquet", "parquet:GLOB?label=COLUMN in the Hugging Face layout, or a URI (s3://)"
    ),
    "csv": Entry(
        "zoo_cli.data.csv_table:read_csv",
        "csv:FILE?path=COLUMN&label=COLUMN&root=FOLDER with columns path, label, id, group",
    ),
    "jsonl": Entry(
        "zoo_cli.data.json_table:read_jsonl", "jsonl:FILE?path=COLUMN&label=COLUMN&root=FOLDER, one JSON object a line"
    ),
    "arrow": Entry(
        "zoo_cli.data.arrow_folder:read_arrow",
        "arrow:FOLDER?label=COLUMN, as save_to_disk of Hugging Face datasets writes it",
    ),
    "wds": Entry(
        "zoo_cli.data.tar_shards:read_shards",
        "wds:PATTERN?label=NAME, WebDataset shards: NAME.jpg, NAME.cls, NAME.json",
    ),
    "torchvision": Entry(
        "zoo_cli.data.torchvision:read_torchvision", "torchvision:NAME?root=PATH&train=true, a data set on disk"
    ),
}

TABLES: dict[str, Mapping[str, Entry]] = {
    "metric": METRICS,
    "weighting": WEIGHTINGS,
    "head": HEADS,
    "pool": POOLS,
    "objective": OBJECTIVES,
    "model provider": MODELS,
    "data provider": DATA,
}


def default_lam(objective: str) -> float:
    """The default share of the labels in the loss of an objective that mixes them with what others know."""
    lam = OBJECTIVES[objective].lam
    assert lam is not None, f"{objective} has no lam"
    return lam


def load(entry: Entry) -> Callable[..., Any]:
    """The function of an entry."""
    return import_target(entry.target)


def import_target(target: str) -> Callable[..., Any]:
    """The function named by "module:function", whose module is imported only now."""
    module, _, attribute = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
