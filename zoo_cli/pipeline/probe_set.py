"""The probe set: the labelled images on which sources are scored."""

import numpy as np

from zoo_cli.config import Config
from zoo_cli.store import failures
from zoo_cli.store.manifest import Images


def probe_rows(settings: Config, images: Images) -> np.ndarray:
    """The rows (M,) of the probe set, without the images that failed in `zoo extract`.

    Scores are paired by sample: no source is scored on an image that one of them lacks.
    """
    rows, absent = images.where(probe=True), failures.failed_ids(settings, "extract")
    return rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows
