"""Suggestions for a misspelt name."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """The nearest of some names, as the end of a message; nothing where none is near."""
    match = nearest(word, list(candidates))
    return f"; did you mean {match!r}?" if match else ""


def nearest(word: str, candidates: Collection[str]) -> str | None:
    """A name with hardly a difference, else one that begins as the word does or the other way round, else one like it."""
    begins = [name for name in candidates if name.startswith(word) or (len(name) > 2 and word.startswith(name))]
    ways = (
        get_close_matches(word, candidates, n=1, cutoff=0.85),
        sorted(begins, key=lambda name: abs(len(name) - len(word))),
        get_close_matches(word, candidates, n=1),
    )
    return next((way[0] for way in ways if way), None)


def same_name(word: str, candidates: Iterable[str]) -> str | None:
    """The one of some names that a word means, whatever its case, hyphens and underscores: mobilenet_v2 is MobileNetV2."""
    return next((name for name in candidates if _letters(name) == _letters(word)), None)


def _letters(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def near_file(path: str | Path) -> str:
    """The file of the same folder and kind whose name is nearest, as the end of a message."""
    names = {file.stem: str(file) for file in sorted(Path(path).parent.glob("*.yaml"))}
    match = nearest(Path(path).stem, names)
    return f"; did you mean {names[match]!r}?" if match else ""
