"""Images in uncompressed tar files, by their first byte and size."""

from pathlib import Path

from zoo_cli.store.remote_files import File


def is_tar(file: File) -> bool:
    """Whether a file begins as an uncompressed tar file; not if it is gone, or behind a URI."""
    try:
        if not isinstance(file, Path) or not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(262)[257:] == b"ustar"
    except OSError:
        return False


def read_member(file: Path, offset: int, size: int) -> bytes:
    """The bytes of a member. Raises OSError, or IndexError if the file ends before it does."""
    with file.open("rb") as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content) < size:
        raise IndexError(offset)
    return content
