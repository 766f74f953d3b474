"""Every file format as data: the name, type and meaning of each column. `files` checks against these.

Types are written as Arrow writes them. `[D]`, `[K]` are widths that differ from file to file.
"""

from dataclasses import dataclass

ROW_GROUP = 8192
"""Rows of a full row group, and of a part of the features."""


@dataclass(frozen=True)
class Column:
    """One column: `required` columns must be there, `nullable` ones may hold nulls."""

    name: str
    type: str
    meaning: str
    nullable: bool = False
    required: bool = True


@dataclass(frozen=True)
class Schema:
    """One artifact. `version` rises when readers of the old one would go wrong."""

    name: str
    path: str
    columns: tuple[Column, ...]
    version: int = 1

    @property
    def tag(self) -> str:
        """The tag in a file's header, e.g. `zoo.manifest/1`."""
        return f"zoo.{self.name}/{self.version}"

    @property
    def file(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


MANIFEST = Schema(
    "manifest",
    "manifest.parquet",
    (
        Column("id", "string", "unique over the whole task; row order is the canonical order"),
        Column("data", "string", "the data it came from: train, unlabelled or test"),
        Column("path", "string", "the image's file, relative to the workspace", nullable=True),
        Column("image", "binary", "the encoded image, if the data has no file that holds it", nullable=True),
        Column("label", "int64", "index into classes.json; null unless the split is labelled", nullable=True),
        Column("split", "string", "labelled, unlabelled or test"),
        Column("probe", "bool", "in the probe set on which sources are scored"),
        Column(
            "truth", "int64", "the known label of an unlabelled or test sample; only evaluate reads it", nullable=True
        ),
        Column("sha256", "string", "of the encoded image"),
        Column("width", "int32", "pixels"),
        Column("height", "int32", "pixels"),
        Column("group", "string", "samples that must stay on one side, e.g. a patient", nullable=True),
        Column("file", "string", "the parquet file that holds the image", nullable=True, required=False),
        Column("column", "string", "the column of the images in it", nullable=True, required=False),
        Column("row_group", "int32", "the row group of the image", nullable=True, required=False),
        Column("row", "int64", "its row in that group", nullable=True, required=False),
    ),
)

PLACE = ("file", "column", "row_group", "row")
"""The columns of a manifest that name an image inside a parquet file."""

FEATURES = Schema(
    "features",
    "features/source=S/data=D/part-00000-of-00004.parquet, "
    "features/views/source=S/view=0/data=D/part-00000-of-00004.parquet",
    (
        Column("id", "string", "of the manifest, in its order"),
        Column("embedding", "fixed_size_list<float32>[D]", "penultimate features", required=False),
        Column("logits", "fixed_size_list<float32>[K]", "the source's own outputs before softmax", required=False),
    ),
)

SOURCE_MEANS = Schema(
    "source-means",
    "EXPERT/source_means.parquet, features/source=S/source_means.parquet",
    (
        Column("class", "string", "name of a class that the source was trained on, each once"),
        Column("count", "int64", "training images of the class"),
        Column("mean", "fixed_size_list<float32>[D]", "mean of their features, as the embedding of the source"),
    ),
)

GRADIENTS = Schema(
    "gradients",
    "gradients/source=S/part-0123456789abcdef.parquet",
    (
        Column("id", "string", "of the manifest: samples of a probe set, each in one part"),
        Column(
            "gradient",
            "fixed_size_list<float32>[P]",
            "of the source's outputs by the weights of one layer, side by side, or projected: inner products are LGC's",
        ),
        Column("gradient_sum", "fixed_size_list<float32>[P]", "the same of the sum of the outputs"),
    ),
)

SCORES = Schema(
    "scores",
    "scores/SPEC/S.parquet",
    (
        Column("source", "string", "name of the source; @student is the student's starting point"),
        Column("metric", "string", "name of the metric"),
        Column("params", "string", "its parameters, as typed"),
        Column("representation", "string", "features, probs or gradients"),
        Column("n", "int64", "samples of the probe set"),
        Column("dim", "int64", "width of the representation"),
        Column("classes", "int64", "target classes that occur"),
        Column("value", "double", "the score, higher is better; null if undefined", nullable=True),
        Column("low", "double", "lower end of its 90 % interval", nullable=True),
        Column("high", "double", "upper end of its 90 % interval", nullable=True),
        Column("chance", "double", "mean score under permuted labels", nullable=True),
        Column("status", "string", "ok, undefined, skipped or failed"),
        Column("reason", "string", "why it has no value or no interval", nullable=True),
        Column("ceiling", "double", "the highest value possible on this probe", nullable=True, required=False),
        Column("flags", "string", "notes on the value, comma-separated: saturated, …", nullable=True, required=False),
        Column("draws", "list<double>", "replicates of the score, paired over sources by position", nullable=True),
        Column("error", "double", "standard error, for the verdict", nullable=True, required=False),
        Column("error_half", "double", "standard error on half the probe set", nullable=True, required=False),
        Column("chance_error", "double", "standard error of the chance level", nullable=True, required=False),
    ),
)

RANKING = Schema(
    "ranking",
    "ranking.parquet",
    (
        Column("rank", "int64", "1 is best, ties share a rank; null if excluded or undefined", nullable=True),
        Column("source", "string", "name of the source"),
        Column("metric", "string", "the metric's spec"),
        Column("representation", "string", "features or probs"),
        Column("value", "double", "the score", nullable=True),
        Column("low", "double", "lower end of its 90 % interval", nullable=True),
        Column("high", "double", "upper end of its 90 % interval", nullable=True),
        Column("p_best", "double", "probability that this source is the best of those ranked", nullable=True),
        Column("rank_low", "int64", "lower end of the 90 % interval of its rank", nullable=True, required=False),
        Column("rank_high", "int64", "upper end of the 90 % interval of its rank", nullable=True, required=False),
        Column("weight", "double", "its weight in the student, under the chosen weighting"),
        Column(
            "teaches",
            "string",
            "whether it can teach by pseudo-labels: yes; no, without a head; unknown",
            required=False,
        ),
        Column("excluded", "string", "why the source is left out; null if it is not", nullable=True),
        Column("borda", "double", "Borda count, if several metrics are ranked by", nullable=True, required=False),
        Column(
            "fit",
            "string",
            "whether it separates the classes better than chance and than the student: yes, no or unknown; null where "
            "the score cannot say",
            nullable=True,
            required=False,
        ),
        Column(
            "labels_needed",
            "int64",
            "about how many labels would tell, at most 10,000; null unless fit is unknown",
            nullable=True,
            required=False,
        ),
        Column(
            "head",
            "double",
            "leave-one-out accuracy of a ridge head on it, low with few labels",
            nullable=True,
            required=False,
        ),
        Column("head_low", "double", "lower end of its 90 % interval", nullable=True, required=False),
        Column("head_high", "double", "upper end of its 90 % interval", nullable=True, required=False),
        Column("head_nll", "double", "leave-one-out nll of the head, in nats", nullable=True, required=False),
        Column("note", "string", "untrained, or weights: factory; only if a source is", nullable=True, required=False),
    ),
)

PSEUDO = Schema(
    "pseudo",
    "pseudo/source=S/part-00000-of-00001.parquet, pseudo/head=HEAD-POOL/part-00000-of-00001.parquet, "
    "pseudo/views/source=S/view=0/part-00000-of-00001.parquet, "
    "pseudo/views/head=HEAD-POOL/view=0/part-00000-of-00001.parquet",
    (
        Column("id", "string", "of the manifest: labelled and unlabelled samples, in its order"),
        Column("probs", "fixed_size_list<halffloat>[K]", "the source's class probabilities; float is accepted too"),
    ),
)

PREDICTIONS = Schema(
    "predictions",
    "runs/NAME/predictions.parquet, predictions/source=S.parquet",
    (
        Column("id", "string", "of the manifest: the test samples"),
        Column("label", "int64", "the true label; null if unknown", nullable=True),
        Column("logits", "fixed_size_list<float32>[C]", "the network's outputs in the order of classes.json"),
    ),
)

NEW_PREDICTIONS = Schema(
    "new-predictions",
    "zoo predict --out FILE.parquet",
    (
        Column("id", "string", "as the manifest has it, and new/… for images of data that the task does not name"),
        Column("path", "string", "the image's file, relative to the workspace", nullable=True),
        Column("class", "string", "the most probable class"),
        Column("probability", "float", "its probability"),
        Column("probs", "fixed_size_list<float32>[C]", "of all classes, in the order of `classes` in the header"),
        Column("logits", "fixed_size_list<float32>[C]", "the network's outputs; not with --heads", required=False),
    ),
)

ERRORS = Schema(
    "errors",
    "errors/STAGE.parquet",
    (
        Column("id", "string", "the sample that failed"),
        Column("path", "string", "its file", nullable=True),
        Column("error", "string", "why"),
    ),
)

SCHEMAS = (MANIFEST, FEATURES, SOURCE_MEANS, GRADIENTS, SCORES, RANKING, PSEUDO, PREDICTIONS, NEW_PREDICTIONS, ERRORS)


@dataclass(frozen=True)
class Document:
    """A JSON artifact: its keys, each with what it holds."""

    name: str
    path: str
    keys: tuple[tuple[str, str], ...]


DOCUMENTS = (
    Document("classes", "classes.json", (("names", "class names in label order"),)),
    Document(
        "source",
        "features/source=S/_source.json",
        (
            ("name, provider, model", "the source as the user named it"),
            ("weights_sha256", "digest of its weights"),
            ("preprocessing", "input size, resize, interpolation, mean, std, channels"),
            ("features, classes", "width D of the embedding (0: none) and number K of its classes (0: no head)"),
            ("class_names, output", "names in order, or null; softmax or sigmoid"),
            ("trained_on, depth", "as declared"),
            ("parameters, macs", "size and multiply-accumulates of one image"),
        ),
    ),
    Document(
        "outputs",
        "features/source=S/_outputs.json",
        (
            (
                "images, answered, collapsed",
                "of all images; classes that are an image's most probable one; true or false",
            ),
        ),
    ),
    Document(
        "views",
        "features/views/_views.json",
        (
            ("views, augment", "number V of stored views of each image, 0 to V - 1, and how they are made"),
            ("seed", "view v of a sample is a function of it, v and the sample's id"),
        ),
    ),
    Document(
        "gradients",
        "gradients/source=S/_gradients.json",
        (
            ("source, gradient_layer", "fingerprint of its _source.json; the layer as declared"),
            ("layer, weights, outputs", "the layer, its number of weights, gradients per sample"),
            ("projection, seed", "number of signed sums, or none; the seed of the signs"),
            ("projected", "the columns that are projected: the others were short enough to keep"),
        ),
    ),
    Document(
        "set",
        "scores/SPEC.json",
        (
            ("metric, score", "of the ensemble as a whole, by a metric that scores ensembles: ms-leep, e-leep"),
            ("sources", "list of source, score of the ensemble so far, gain, low, high: in the order of choice"),
            ("stopped_at", "the next one, whose gain is less than its uncertainty; null if none is left"),
            ("left_out", "sources that may not enter, each with the reason"),
            ("inputs", "what it was made from, as in the scores"),
        ),
    ),
    Document(
        "head",
        "pseudo/head=HEAD-POOL/_head.json, pseudo/views/head=HEAD-POOL/_head.json",
        (
            ("head, pool", "specs"),
            ("labels, images", "number of labelled images, and of all images with answers"),
            ("sources", "list of source, lam, temperature, nll and accuracy (leave one out), weight in the pool"),
            ("estimate", "accuracy on the unlabelled images, low, high (90 %), or null with a reason"),
            ("class_shares", "by class name, its share of the answers for the unlabelled images"),
            ("missing", "classes without a labelled image: they are never answered"),
            (
                "disagreement",
                "list of unlabelled id and nats: images on which the heads agree least, to label next",
            ),
            ("leaning", "for each of these images, the classes to which most of the heads lean, with their shares"),
            ("notes", "remarks on the answers"),
        ),
    ),
    Document(
        "pool",
        "pseudo/head=HEAD-POOL/_pool.safetensors",
        (
            ("classes, present, source_weights", "C; (P,) the classes it answers; (S,) of the sources it needs"),
            ("s.mean, s.scale", "(D,) of source s, from 0: the pool reads (values - mean) * scale of its features"),
            ("s.weights, intercept, temperature", "(D, P), (P,), (1,): one head on the features of all sources"),
            ("s.intercept, s.temperature", "in their place: a head for each source, for logmean"),
            ("neighbours", "in place of any head: the number of nearest train images, for product and spread"),
        ),
    ),
    Document(
        "source-head",
        "heads/source=S.safetensors, heads/views/source=S.safetensors",
        (
            ("mean, scale", "(D,) the head reads (values - mean) * scale of the stored values"),
            ("weights, intercept, temperature", "(D, P), (P,), (1,): softmax((x @ weights + intercept) / temperature)"),
            ("present", "(P,) the classes it answers, as positions in classes.json"),
            ("lam", "(1,) its penalty, NaN if it has none"),
        ),
    ),
    Document(
        "weights",
        "weights.json",
        (
            ("weighting, metric", "specs"),
            ("effective_sources", "exp of the entropy of the weights"),
            ("sources", "list of source, score, weight"),
        ),
    ),
    Document(
        "run",
        "runs/NAME/run.json",
        (
            ("objective, options", "every option as resolved"),
            ("student, source", "the model it starts as, as declared; for finetune the source's name"),
            ("weights, teachers", "the sources or teachers and their weights: list of source, weight"),
            ("task", "name of the task"),
            ("asked", "what the user asked for, before it became sources, weights and steps of this task"),
            ("size", "parameters of the student, and its multiply-accumulates for one image"),
            ("inputs", "fingerprints of what it was made from"),
            ("versions, threads", "of zoo, torch and torchvision; number of CPU threads, on which the bits depend"),
            ("device, card", "cpu or cuda; of a GPU its name, and the versions of CUDA and cuDNN"),
            ("written_last", "the file without which the run is not finished: SHA256SUMS, the digests of all others"),
        ),
    ),
    Document(
        "sweep",
        "runs/NAME/sweep.json",
        (("lr", "the learning rate that was chosen"), ("rows", "list of lr, accuracy on held-out labels, n")),
    ),
    Document(
        "tune",
        "tune/tune.json",
        (
            ("chosen, best", "what trains on all labels; the candidate with the greatest gain of those left, or null"),
            ("labels, held_out, steps", "labelled images; how many of them each split holds out; steps of every run"),
            (
                "rows",
                "list of candidate, its settings, splits, mean accuracy, gain over labels only, low, high; "
                "dropped_after, reason",
            ),
            ("accuracies", "by candidate, of each split"),
            ("tail", "probability beyond each end of all intervals together"),
            ("inputs", "what it was made from"),
        ),
    ),
    Document("config", "runs/NAME/config.json", (("zoo", "how `file:runs/NAME` builds the student again"),)),
    Document(
        "images",
        "runs/NAME/images.sha256",
        (("…", "the sha256 of every image that the student was trained on, one a line, sorted"),),
    ),
    Document("metrics", "runs/NAME/metrics.jsonl", (("step, loss, …", "one object per logged step"),)),
)
