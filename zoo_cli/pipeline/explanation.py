"""`zoo rank --explain SOURCE`: the classes that make a source good, and those that do not."""

from zoo_cli import console
from zoo_cli.config import STUDENT, Config
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import prepare, split
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, feature_store

FIELDS = (
    console.Field("class"),
    console.Field("n", style="d"),
    console.Field("auc", "same class is nearer", "percent"),
    console.Field("student", "to the student", "percent"),
)


def explain_source(settings: Config, name: str, on: str, form: str | None) -> None:
    """Print, class by class, how often a pair of that class is nearer than a pair with another one; best first."""
    import numpy as np

    from zoo_cli.metrics import class_auc
    from zoo_cli.store import feature_files

    source = settings.select([name])[0]
    everyone = [source, *(one for one in settings.models if one.name == STUDENT and one.name != source.name)]
    images = prepare.prepare(settings, Needs(features=everyone))
    rows = images.where(probe=True)
    absent = failures.failed_ids(settings, "extract")
    rows = rows[[str(one) not in absent for one in images.ids[rows]]]
    names = split.load_class_names(settings.classes)
    found = []
    for one in everyone:
        said = feature_store.load_source_record(settings, one.name)
        column = "embedding" if on == "features" else "logits"
        if not said["features" if on == "features" else "classes"]:
            raise UsageError(f"{one.name} has no {on} stored", "--on names the other representation")
        held = feature_files.load_outputs(settings.features(one.name), ids=images.ids[rows], columns=(column,))
        inputs = held.embedding if on == "features" else held.probabilities(said["output"])
        assert inputs is not None
        found.append(class_auc.class_auc(inputs, images.labels[rows]))
    labels, counts = np.unique(images.labels[rows], return_counts=True)
    table = [
        {
            "class": names[label],
            "n": int(counts[c]),
            "auc": console.plain(float(found[0][c])),
            "student": console.plain(float(found[1][c])) if len(found) > 1 else None,
        }
        for c, label in enumerate(labels)
    ]
    table.sort(key=lambda row: (row["auc"] is None, -(row["auc"] or 0.0), row["class"]))
    console.answer("zoo.explain/1", table, FIELDS, form=form, meta={"source": source.name, "representation": on})
