"""Writing files that are whole or absent, whatever happens meanwhile."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str) -> None:
    """Replace `path` atomically: what stood there before stays until the new content is safely on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # two processes may write the same file
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
