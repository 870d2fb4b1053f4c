"""The files that a data set's images are in, and what they hold, by which weights know the images that they learned."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ard.core.class_folders import MOST_CHECKED
from ard.core.content_digests import ContentDigests


@dataclass(frozen=True)
class ImageFiles:
    """The files of a folder of images, training and validation together, in the order of the images."""

    root: Path
    training: Sequence[str]
    test: Sequence[str]
    digests: ContentDigests = field(default_factory=ContentDigests)

    @property
    def learned(self) -> list[str] | None:
        """The digests of the training files; None of very many, as reading them would take minutes."""
        return self.digests.of(self.training) if len(self.training) <= MOST_CHECKED else None

    def tested(self, learned: set[str]) -> list[str]:
        """The test files, below the root, that hold what one of these digests is of."""
        if not learned or len(self.test) > MOST_CHECKED:
            return []
        pairs = zip(self.test, self.digests.of(self.test), strict=True)
        return [self.below_root(path) for path, digest in pairs if digest in learned]

    def below_root(self, path: str) -> str:
        """The name of a file as people know it."""
        return Path(path).relative_to(self.root).as_posix()

    @property
    def identity(self) -> dict[str, int | str] | None:
        """How many training images there are, and one digest of them all in their order, of which the validation split is
        drawn; None of very many."""
        if self.learned is None:
            return None
        return {"count": len(self.training), "digest": hashlib.sha256(" ".join(self.learned).encode()).hexdigest()}
