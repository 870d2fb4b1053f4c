"""Writing files that are whole or absent, whatever happens meanwhile."""

import os
from pathlib import Path

from ard.errors import UserError


def write_whole(path: Path, data: bytes | str, *, through: Path | None = None) -> None:
    """Replace `path` atomically: what stood there before stays until the new content is safely on disk.

    A process that dies leaves at most a temporary file, beside `path` or in the folder `through` of the same file system.
    Raises UserError where the file cannot be written.
    """
    temporary = (through or path.parent) / f".{path.name}.{os.getpid()}.tmp"  # two processes may write the same file
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
