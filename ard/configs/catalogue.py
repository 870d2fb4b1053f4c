"""The config files that come with ard, found by listing them, and what file a name means."""

from collections.abc import Sequence
from itertools import takewhile
from os.path import isfile
from pathlib import Path

from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean, near_file, same_name
from ard.core.text import first_sentence
from ard.core.user_paths import written_out

# Kind -> its folder below configs/
KINDS = {"bases": ""} | {kind: kind for kind in ("methods", "schedules", "augmentations", "teachers", "studies")}
OF_A_RUN = ("bases", "methods", "schedules", "augmentations", "teachers")  # what `ard fit` takes
PUBLISHED = "published.yaml"  # lies beside the bases, and is the numbers of papers: no config of a run
TOP = "configs"  # how paths to them begin, whether or not such a folder is in the current one


def root() -> Path:
    """The folder of these files: inside an installed package, else at the top of the repository."""
    package = Path(__file__).parent
    shipped = package / "shipped"
    return shipped if shipped.is_dir() else package.parents[1] / TOP


def names(kind: str) -> list[str]:
    """The names of a kind, such as `rslad` among the methods."""
    return sorted(file.stem for file in (root() / KINDS[kind]).glob("*.yaml") if file != root() / PUBLISHED)


def about(file: Path) -> str:
    """The first sentence of the comment at the head of a config."""
    head = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return first_sentence("\n".join(line.lstrip("# ") for line in head))


def find(name: str | Path, *kinds: str) -> Path:
    """The file that a name or path means; raises UserError where there is none, or where a name means two.

    A path that exists is taken as it is; else NAME.yaml of the current folder; else ours among `kinds` (by default all), by
    name, by kind and name as in `methods/rslad`, or by a path below configs/, which need not be in the current folder. Names
    of ours ignore case, hyphens and underscores.
    """
    wanted: str = written_out(str(name))
    kinds = kinds or tuple(KINDS)
    for file in (wanted, f"{wanted}.yaml"):
        # not Path.is_file, which raises OSError for a name too long and a folder that may not be looked into
        if isfile(file):
            return Path(file)
    ours = _ours(wanted, kinds)
    if len(ours) == 1:
        return next(iter(ours.values()))
    if ours:
        raise UserError(f"{wanted} is {len(ours)} things: {' and '.join(ours)}; expected one of these")
    one = {"bases": "base config", "studies": "study"}
    what = one.get(kinds[0], kinds[0].removesuffix("s")) if len(kinds) == 1 else "config file"
    raise UserError(f"{wanted or repr(wanted)}: no such {what}{_near(wanted, kinds)}")


def own_name(name: str, kind: str) -> str:
    """A file of ours, in whatever case, as it is called; any other name or path as it is."""
    folder, _, stem = name.rpartition("/")
    if folder not in ("", kind) or isfile(name) or isfile(f"{name}.yaml"):
        return name
    return name.removesuffix(stem) + (same_name(stem, names(kind)) or stem)


def kind_of_config(path: Path) -> str | None:
    """Of which kind a file of ours is; None for any other file."""
    return next((kind for kind, folder in KINDS.items() if path.parent.samefile(root() / folder)), None)


def short_config_path(path: str | Path) -> str:
    """A path as messages name it, which `find` takes, too: one of ours as below configs/, wherever that lies."""
    if not Path(path).is_relative_to(root()):
        return str(path)
    short = Path(TOP) / Path(path).relative_to(root())
    return str(path if short.is_file() and not short.samefile(path) else short)


def _ours(name: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of ours that a name may mean, by kind and name."""
    folder, *rest = Path(name).parts or ("",)
    if folder == TOP and ".." not in rest:
        file = root().joinpath(*rest)
        return {name: file} if file.is_file() else {}
    qualified = folder if folder in kinds and len(rest) == 1 else None
    stem = rest[0] if qualified else name
    same = {kind: same_name(stem, names(kind)) for kind in kinds if qualified in (None, kind)}
    return {f"{kind}/{meant}": root() / KINDS[kind] / f"{meant}.yaml" for kind, meant in same.items() if meant}


def _near(name: str, kinds: Sequence[str]) -> str:
    """The nearest right name, as the end of a message."""
    if Path(name).suffix in (".yaml", ".yml"):
        paths = [short_config_path(file) for file in sorted(root().rglob("*.yaml"))]
        return near_file(name) or did_you_mean(name, paths)
    choices = [f"{kind}/{stem}" if "/" in name else stem for kind in kinds for stem in names(kind)]
    choices += [file.stem for file in sorted(Path().glob("*.yaml"))]
    listed = "ard list " + kinds[0] if len(kinds) == 1 else "ard list"
    return (did_you_mean(name, choices) if name else "") or f"; `{listed}` shows them"
