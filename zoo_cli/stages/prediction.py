"""What a network says of images of the task: logits, from its own evaluation view."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo_cli.errors import ContractError
from zoo_cli.stages import devices
from zoo_cli.stages.runner import Pixels

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.config import Preprocessing
    from zoo_cli.data.images import Images
    from zoo_cli.models.capture import Tapped

BATCH = 256


def predict(
    network: "Tapped",
    preprocessing: "Preprocessing",
    images: "Images",
    rows: "np.ndarray",
    device: "torch.device",
    workers: int | None,
    order: Sequence[int] | None = None,
) -> "np.ndarray":
    """The logits (M, C), float32, of a network with a head on rows (M,) of the manifest.

    `order`: which of its columns stands for each class of the task, see `models.label_space`; None: as they are. The
    network is moved to `device` and put in eval mode. Raises ContractError for an image that cannot be read.
    """
    import numpy as np
    import torch

    from zoo_cli.data import decoding

    shape = decoding.geometry(preprocessing)
    pixels = Pixels(preprocessing, device)
    network.to(device).eval()
    found: list[Any] = []
    views: list[Any] = []

    def run() -> None:
        with torch.inference_mode():
            logits = network(pixels(torch.from_numpy(np.stack(views))))[1]
            assert logits is not None, "a network without a head predicts nothing"
            found.append(logits.float().cpu().numpy())
        views.clear()

    getters = [images.getter(row) for row in rows]
    for index, view in decoding.load_views(getters, [shape], devices.workers(workers)):
        if isinstance(view, decoding.BadImage):
            raise ContractError(f"{images.ids[rows[index]]}: {view}", "make the manifest again")
        views.append(view[shape])
        if len(views) == BATCH:
            run()
    if views:
        run()
    logits = np.concatenate(found) if found else np.zeros((0, network.tap.classes), np.float32)
    return logits if order is None else logits[:, list(order)]
