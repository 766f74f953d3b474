"""Counts with the name of what is counted, in the singular and the plural."""


def count_things(count: int, thing: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return count_cases(count, thing, plural)


def count_cases(count: int, one: str, several: str) -> str:
    """A count before a text that is not the same for one: `1 image is`, `2,000 images are`."""
    return f"{count:,} {one if count == 1 else several}"
