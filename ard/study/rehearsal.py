"""A study rehearsed: every teacher and every recipe for a few steps, evaluated and compared, in a folder of its own."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.configs.building import build
from ard.configs.catalogue import find
from ard.configs.files import method_arguments
from ard.core.errors import UserError
from ard.core.files import or_user_error, write_whole
from ard.core.locks import LOCK
from ard.data import DataModule
from ard.data.cifar import nothing_fetched
from ard.evaluation.rehearsed import MARK
from ard.models import Network
from ard.study.architectures import architecture
from ard.study.studied_data import innermost_data, studied_data
from ard.study.study_file import Study, plain_key

BATCHES, BATCH, TESTED = 2, 4, 5  # training steps of so many images, and how many test images
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}  # that a teacher of RobustBench distinguishes
UNKNOWN_CLASSES = 10  # where folders that are not there would say it


@dataclass(frozen=True)
class Rehearsal:
    """A study at a toy size, and what it has instead of the data and the teacher that are not there, a line each."""

    study: Study
    instead: list[str]


def rehearsal_of(study: Study, own: Path) -> Rehearsal:
    """The toy of a study, to be run in a folder of its own, which is empty afterwards.

    One seed, one fold, one number of each setting that is tuned; every teacher, recipe and sweep. Raises UserError where the
    folder holds something else than an earlier rehearsal.
    """
    _make_empty(own)
    data, lines = _data(study)
    teacher, said = _teacher(study, own, data["classes"] if data else None)
    small = _small(study, data)
    toy = replace(
        _without(once(study), small, data is not None),
        given_teacher=teacher,
        evaluate={**study.evaluate, "limit": TESTED, "rehearse": True},
        results=None,
    )
    toy = replace(toy, common={**toy.common, **small})
    return Rehearsal(_with_replays(toy), [*lines, *said])


def once(study: Study) -> Study:
    """With one seed, one fold, and one number of each setting that is tuned."""
    tune = {key: numbers[:1] for key, numbers in study.tune.items()}
    seeds, only = study.seeds_of(0)[:1], None if study.folds is None else 0
    return replace(study, seeds=seeds, tune=tune, only_fold=only)


def _make_empty(folder: Path) -> None:
    left = [path for path in folder.iterdir() if path.name != LOCK]
    if left and not (folder / MARK).is_file():
        raise UserError(f"{folder} is no rehearsal: expected none of that name, or one; move it away")
    with or_user_error(folder):
        for path in (path for path in left if path.name != MARK):  # which an interrupted call leaves, too
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        write_whole(folder / MARK, "A rehearsal of a study, not a result: the next one begins by deleting this folder.\n")


def _small(study: Study, data: dict[str, Any] | None) -> dict[str, Any]:
    """The keys of every run that make it small; random images where there are no others."""
    keys = {
        "trainer.devices": 1,
        "trainer.max_epochs": 1,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.limit_train_batches": BATCHES,
        "trainer.limit_val_batches": 1,
        "trainer.log_every_n_steps": 1,
    }
    if data is None:
        return {**keys, f"{innermost_data(study)}.batch_size": BATCH}
    own = {f"data.init_args.{key}": value for key, value in {**data, "batch_size": BATCH}.items()}
    return {"data": "ard.data.RandomImages", **keys, **own}


def _without(study: Study, small: dict[str, Any], random: bool) -> Study:
    """Without the keys that a toy has smaller and, where its images are random, those that these do not have."""
    smaller = set(map(plain_key, small))

    def kept(keys: dict[str, Any]) -> dict[str, Any]:
        named = {key: plain_key(key) for key in keys}
        return {key: keys[key] for key in keys if named[key] not in smaller and not (random and _of_other_data(named[key]))}

    whole = {what: kept(getattr(study, what)) for what in ("common", "tune")}
    parts = {what: {name: kept(keys) for name, keys in getattr(study, what).items()} for what in OF_RUNS}
    folds: dict[str, Any] = {"folds": None, "only_fold": None} if random else {}
    rows: dict[str, Any] = {} if parts["sweeps"] == study.sweeps else {"baseline": None, "ladders": ()}  # may be gone
    return replace(study, **{**whole, **parts, **folds, **rows})


def _of_other_data(key: str) -> bool:
    """Whether a key is of the data, and random images do not have it."""
    of_any = {f"data.{name}" for name in OF_ANY_IMAGES}
    return key.partition(".")[0] == "data" and key not in of_any


OF_RUNS = ("overrides", "sweeps", "conditions")
OF_ANY_IMAGES = ("augmentation", "cutmix", "rotation", "padding_mode", "flip", "crop_padding", "workers")


def _with_replays(study: Study) -> Study:
    """A run of free replays sees its images once for so many epochs' worth of updates, and trains no fewer."""
    overrides = dict(study.overrides)
    for recipe in study.recipes:
        path = find(recipe, "methods")
        if replays := method_arguments(path, "methods").get("replays"):
            overrides[path.stem] = {**overrides.get(path.stem, {}), "trainer.max_epochs": replays}
    return replace(study, overrides=overrides)


def _data(study: Study) -> tuple[dict[str, Any] | None, list[str]]:
    """What random images must be like, and why there are to be any; None where the data are there."""
    section = studied_data(study)
    name, arguments = section["class_path"], section["init_args"]
    try:
        with nothing_fetched():
            data: DataModule = build(DataModule, {"class_path": name, "init_args": arguments})
            data.prepare_data()
        return None, []
    except UserError as error:
        reason = str(error).partition("; ")[0]
    while isinstance(inner := arguments.get("base"), dict):
        name, arguments = str(inner["class_path"]), inner.get("init_args") or {}
    shape, classes = _shape(name, arguments), _classes(study, name)
    random = {
        "classes": classes,
        "size": shape[1],
        "channels": shape[0],
        "val_size": classes,
        "count": 4 * classes + BATCH,
    }
    pixels = "×".join(map(str, shape[1:]))
    return random, [f"random images of {pixels} and {classes} classes in place of the data: {reason}"]


def _shape(name: str, arguments: dict[str, Any]) -> tuple[int, int, int]:
    """Of images as a class of ard.data would give them."""
    if "size" in arguments:
        return (1 if arguments.get("grey") else 3, int(arguments["size"]), int(arguments["size"]))
    import ard.data

    return tuple(getattr(getattr(ard.data, name.rpartition(".")[2], None), "input_shape", (3, 32, 32)))


def _classes(study: Study, name: str) -> int:
    import ard.data

    known = getattr(getattr(ard.data, name.rpartition(".")[2], None), "classes", ())
    teacher = ((study.given_teacher or {}).get("init_args") or {}).get("dataset")
    return len(known) or CLASSES.get(str(teacher), UNKNOWN_CLASSES)


def _teacher(study: Study, own: Path, classes: int | None) -> tuple[dict[str, Any] | None, list[str]]:
    """The given teacher, or one of RobustBench that is not there with random weights, and a line that says so."""
    given = study.given_teacher
    if given is not None and given["class_path"] == "ard.models.Cached":  # its table is kept beside the real weights
        given = {**given, "class_path": "ard.models.Frozen"}
    if given is None or given["class_path"] != "ard.models.RobustBench":
        return given, []
    teacher: Any = build(nn.Module, given)
    if Path(teacher.weights).is_file():
        return given, []
    network, exact = architecture(teacher.name, teacher.dataset)
    number = classes or CLASSES[teacher.dataset]
    file = own / f"{teacher.name}.safetensors"
    card = Card(class_path=network["class_path"], init_args=network["init_args"], num_classes=number)
    save_weights(file, build(Network, network)(num_classes=number), card)
    words = ", ".join(f"{key} {value}" for key, value in network["init_args"].items())
    what = f"{network['class_path'].rpartition('.')[2]} ({words})" if words else network["class_path"].rpartition(".")[2]
    unlike = "" if exact else ", which may not be its architecture,"
    lines = [f"a {what}{unlike} with random weights in place of the teacher: {teacher.weights} is not there"]
    try:
        teacher.check_there()
    except UserError as error:
        lines.append(f"the real study will be refused: {error}")
    return {"class_path": "ard.models.Frozen", "init_args": {"weights": str(file)}}, lines


def forget_weights(directory: Path) -> None:
    """Delete the weights, checkpoints and tables of logits of a rehearsal, which take room; its logs stay."""
    for pattern in ("*.ckpt", "*.safetensors", "*.logits"):
        for file in directory.rglob(pattern):
            file.unlink()
