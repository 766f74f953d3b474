"""Arrays as list columns of a table, and back."""

from typing import TYPE_CHECKING

from zoo_cli.errors import ContractError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def to_matrix(column: "pa.ChunkedArray", what: str) -> "np.ndarray":
    """A list column of equal widths as one (N, W) array of its own precision; at most one copy.

    Accepts list, large_list and fixed-size list of float16, float32 and float64. Raises ContractError for nulls,
    ragged rows and other types.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not listed or not pa.types.is_floating(kind.value_type):
        raise ContractError(f"{what} is {kind}", "it takes a list of float16, float32 or float64")
    if column.null_count:
        raise ContractError(f"{what} holds {column.null_count} nulls")
    pieces = []
    for chunk in column.chunks:
        if not len(chunk):
            continue
        values = chunk.flatten()
        if values.null_count or len(values) % len(chunk):
            raise ContractError(f"{what} is ragged", "every row needs as many values")
        if not pa.types.is_fixed_size_list(kind):
            import pyarrow.compute as pc

            if len(pc.unique(pc.list_value_length(chunk))) != 1:
                raise ContractError(f"{what} is ragged", "every row needs as many values")
        pieces.append(values.to_numpy(zero_copy_only=False).reshape(len(chunk), -1))
    if not pieces:
        return np.zeros((0, getattr(kind, "list_size", 0)), pa.array([], kind.value_type).to_numpy(False).dtype)
    if len({piece.shape[1] for piece in pieces}) > 1:
        raise ContractError(f"{what} is ragged", "every row needs as many values")
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def to_list_column(array: "np.ndarray") -> "pa.FixedSizeListArray":
    """An (N, W) array as a fixed-size list column; no copy where it is contiguous."""
    import numpy as np
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).reshape(-1)), array.shape[1])
