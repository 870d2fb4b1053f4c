"""Short digests of what files hold: the same for a file that was renamed, moved or copied."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ard.core.errors import UserError
from ard.core.files import open_regular

DIGITS = 12  # of hex: of 50,000 files and 50,000 others two agree by chance once in 100,000 folders
PART = 2**16  # bytes at the beginning, and as many in the middle: photographs are large, and differ everywhere


class ContentDigests:
    """The digest of each file's size, beginning and middle; each file is read once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, paths: Sequence[str]) -> list[str]:
        """In the order of the paths; raises UserError for a file that cannot be read."""
        new = [path for path in paths if path not in self._known]
        with ThreadPoolExecutor() as pool:
            self._known.update(zip(new, pool.map(content_digest, new), strict=True))
        return [self._known[path] for path in paths]


def content_digest(path: str) -> str:
    """The digest of one file; raises UserError where it cannot be read."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(b"%d " % size + file.read(PART))
            if size > PART:  # images that are not compressed may all begin with the same dark margin
                file.seek(max(PART, size // 2))
                digest.update(file.read(PART))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a readable image ({reason}); replace or delete it") from error
    return digest.hexdigest()[:DIGITS]
