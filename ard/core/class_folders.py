"""Folders of images, one a class: which files count, and which cannot be images; no pixel is read, no torch needed."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ard.core.errors import UserError
from ard.core.files import open_regular
from ard.core.terminal import say
from ard.core.text import first_few, printable
from ard.core.user_paths import written_out

DEEPEST = 8  # folders inside a class's folder; a link to a folder above would go on without end
LEFT_BY_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "__macosx", "$recycle.bin"}
SIDECARS = {".xmp", ".aae", ".thm", ".pp3", ".dop", ".ini", ".lnk", ".url", ".part", ".crdownload", ".tmp"}
MOST_CHECKED = 50_000  # images
SHOWN = 5  # names in a line of ours
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"}
HEIC = {".heic", ".heif", ".hif"}


@dataclass(frozen=True)
class ClassFolders:
    """The files of each class, sorted, by the class's name; and what was left out, as it is known to be no image."""

    files: dict[str, list[str]]
    skipped: list[str]

    def tell(self, folder: Path) -> None:
        """One line about what was left out, and one where folders are numbers that are not counted as people count."""
        if self.skipped:
            skipped = f"{len(self.skipped)} files that are no images were skipped: {_listed(self.skipped)}"
            say(printable(f"{folder}: {skipped}"))
        names = list(self.files)
        if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
            order = f"in the order of their texts: {_listed(names)}"
            say(printable(f"{folder}: the classes are numbers, {order}; a network from elsewhere may count them otherwise"))


def class_folders(folder: Path, *, at_least: int) -> ClassFolders:
    """The class folders of a folder and all that lies in them, at any depth; hidden files do not count.

    Classes are the folders' names in Unicode's composed form, as some systems write é as two characters. Raises UserError
    where there are fewer than two, where one has fewer than `at_least` images, and for a name that is no text.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {folder}/<class>/<images>, a folder a class")
    names = [name for name in _visible(folder) if (folder / name).is_dir() and name.lower() not in LEFT_BY_SYSTEMS]
    if len(names) < 2:
        raise UserError(f"{folder} holds {len(names)} class folders; expected two or more: {folder}/<class>/<images>")
    found: dict[str, list[str]] = {}
    skipped: list[str] = []
    for name in names:
        images, left = _sorted_out(list(_files(folder / name)))
        skipped += left
        if len(images) < at_least:
            raise UserError(f"{folder / name} holds {len(images)} images; expected {at_least} or more: fill or delete it")
        if (label := _label(folder, name)) in found:
            raise UserError(f"{folder}: two folders are called {label!r}, written differently; expected one a class")
        found[label] = images
    return ClassFolders({label: found[label] for label in sorted(found)}, skipped)


def check_same_classes(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """Raises UserError where train/ and test/ hold other classes; names are shown so that a space at an end is seen."""
    if differing := sorted(set(train) ^ set(test)):
        names = first_few([repr(name) if name != name.strip() else name for name in differing], SHOWN)
        raise UserError(f"{root}: {names} only in one of train/ and test/; expected the same classes in both")


def check_spelling(root: Path) -> None:
    """Raises UserError where folders are train/ and test/ in another spelling, which would become classes of that name.

    A class may be called "test", and "train", where it holds no folders.
    """
    if not root.is_dir() or ((root / "train").is_dir() and (root / "test").is_dir()):
        return
    folders = [name for name in _visible(root) if (root / name).is_dir()]
    splits = [name for name in folders if name.lower() in SPLITS and _folders_below(root / name)]
    if "train" in splits:  # then others of these are not read
        wrong = any(name.lower() in ("test", "testing") for name in splits)
    else:
        wrong = splits != ["test"] and (len(splits) > 1 or 0 < len(splits) == len(folders))
    if wrong:
        raise UserError(
            f"{root} holds {first_few(splits)}; expected train/ and test/ (lower case), or a folder a class: rename them"
        )


def check_images(root: Path) -> None:
    """Raises UserError that names all files of train/ and test/, or of the class folders, that do not begin as images do.

    Pixels are not decoded; of very many images none is looked at, as it would take minutes.
    """
    check_spelling(root)
    parts = [root / name for name in ("train", "test") if (root / name).is_dir()] if is_split(root) else [root]
    folders = [class_folders(part, at_least=1).files for part in parts]
    paths = [path for files in folders for members in files.values() for path in members]
    if len(paths) <= MOST_CHECKED:
        _check_headers(paths)


def is_split(root: Path) -> bool:
    """Whether a folder holds train/<class>/*: "train" may be the name of a class, whose images it holds itself."""
    train = root / "train"
    return train.is_dir() and _folders_below(train)


def _folders_below(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _visible(folder))


def files_of_images(names: Sequence[str]) -> list[str]:
    """Files, and all files of folders; raises UserError where nothing is there, and names all that are no images."""
    if not names:
        raise UserError("no images; expected files, or folders of them")
    paths: list[str] = []
    for name in names:
        path = Path(written_out(name))
        if not path.exists():
            raise UserError(f"{name}: no such file; expected an image, or a folder of them")
        found = _sorted_out(list(_files(path)))[0] if path.is_dir() else [str(path)]
        if not found:
            raise UserError(f"{name} holds no images; expected files, or folders of them")
        paths += found
    _check_headers(paths)
    return paths


def _check_headers(paths: Sequence[str]) -> None:
    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(_wrong, paths))
    if wrong := [f"{path} ({reason})" for path, reason in zip(paths, reasons, strict=True) if reason]:
        count = f"{len(wrong)} of {len(paths)} files cannot be read as images"
        raise UserError(f"{count}: {_listed(wrong, names=False)}; replace or delete what is damaged")


@cache
def formats() -> list[str]:
    """All that Pillow reads but PostScript: that is a program, which Pillow would give to Ghostscript to run."""
    from PIL import Image

    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def not_an_image(path: str) -> str:
    """Why nothing reads this file, for a person."""
    if Path(path).suffix.lower() in HEIC and "HEIF" not in formats():
        return "not an image that Pillow reads by itself: pip install pillow-heif"
    return "not an image"


def _wrong(path: str) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with open_regular(path) as content, Image.open(content, formats=formats()):
            return ""
    except UnidentifiedImageError:
        return "empty" if os.path.getsize(path) == 0 else not_an_image(path)
    except Exception as error:  # on a damaged file Pillow raises nearly anything
        return " ".join(f"{type(error).__name__}: {error}".split())


def _label(folder: Path, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{folder}: the folder {os.fsencode(name)!r} has a name that is no UTF-8; rename it") from error
    return unicodedata.normalize("NFC", name)


def _files(folder: Path, depth: int = 0) -> Iterator[str]:
    """Every file below, links followed, by name."""
    if depth > DEEPEST:
        raise UserError(f"{folder}: folders inside folders, more than {DEEPEST} deep; expected images")
    with os.scandir(folder) as found:  # which knows what is a folder without asking for each of a million files
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if not _is_folder(entry):
            yield str(folder / entry.name)
        elif entry.name.lower() not in LEFT_BY_SYSTEMS:
            yield from _files(folder / entry.name, depth + 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _sorted_out(paths: list[str]) -> tuple[list[str], list[str]]:
    """Files that count, and known litter: of systems and programs, and whatever has the name of an image beside it."""
    names = {path.lower() for path in paths}
    stems = {os.path.splitext(name)[0] for name in names if _is_of_an_image(name)}

    def is_litter(path: str) -> bool:
        name = path.lower()
        stem, suffix = os.path.splitext(name)
        if os.path.basename(name) in LEFT_BY_SYSTEMS or suffix in SIDECARS:
            return True
        # IMG_1.MOV and IMG_1.jpg.json beside IMG_1.jpg, which cameras and clouds write
        return not _is_of_an_image(name) and not stems.isdisjoint(_begun(stem))

    litter = {path for path in paths if is_litter(path)}
    return [path for path in paths if path not in litter], [path for path in paths if path in litter]


def _begun(stem: str) -> set[str]:
    """What a name may be called after: itself, and where it has dots in it all that ends before one."""
    folder, name = os.path.split(stem)
    parts = name.split(".")
    return {os.path.join(folder, ".".join(parts[:count])) for count in range(1, len(parts) + 1)}


@cache
def _suffixes() -> set[str]:
    from PIL import Image

    Image.init()
    return {suffix.lower() for suffix in Image.registered_extensions()} | HEIC


def _is_of_an_image(name: str) -> bool:
    return os.path.splitext(name)[1] in _suffixes()


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def _listed(items: Sequence[str], *, names: bool = True) -> str:
    shown = [os.path.basename(item) if names else item for item in items[:SHOWN]]
    return ", ".join(shown) + (f", and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
