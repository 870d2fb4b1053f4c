"""The card of a file of weights: what the file says of its network, its data and its training.

It is in the metadata of a safetensors file under "model", and in a checkpoint under "ard".
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ard.artifacts.facts import Pruned, Recipe, Threat, TrainingFacts, hashes, said
from ard.artifacts.typed_json import OMITTED, Count, Fraction, from_tree, parsed, reason_of, to_tree
from ard.core.errors import UserError
from ard.core.text import first_few
from ard.core.trees import check_size


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description of a file of weights; None where the file does not say.

    Args:
        class_path: the network as configurations name it, with `init_args`.
        num_classes: how many logits it answers with; `classes` names them in their order.
        additional_data: whether more than the data set was used for training.
        input_shape: channels, height, width.
        data: the `data:` section of the configuration.
        teacher: SHA-256 of the teacher that objectives were given; None, too, where there was none.
        members: SHA-256 of each network of a teacher of several, by its place below `model.init_args` of the configuration.
        threat: what the network was trained against.
        clean_acc: the clean accuracy that is declared for a network from elsewhere.
        pruned: how weights were pruned, of these weights or of those that their training began with.
        learned: short digests of the files of images that training and selection have seen, where these are files.
    """

    class_path: str | None = field(default=None, metadata=OMITTED)
    init_args: dict[str, Any] | None = field(default=None, metadata=OMITTED)
    num_classes: Count | None = field(default=None, metadata=OMITTED)
    classes: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    additional_data: bool | None = None
    input_shape: tuple[Count, ...] | None = field(default=None, metadata=OMITTED)
    data: dict[str, Any] | None = field(default=None, metadata=OMITTED)
    recipe: Recipe | None = field(default=None, metadata=OMITTED)
    teacher: str | None = None
    members: dict[str, str] | None = field(default=None, metadata=OMITTED)
    threat: Threat | None = field(default=None, metadata=OMITTED)
    training: TrainingFacts | None = field(default=None, metadata=OMITTED)
    clean_acc: Fraction | None = field(default=None, metadata=OMITTED)
    pruned: Pruned | None = field(default=None, metadata=OMITTED)
    learned: tuple[str, ...] | None = field(default=None, metadata=OMITTED)

    @property
    def network(self) -> dict[str, Any] | None:
        """The network as a tree {class_path, init_args}; None where the file does not name one."""
        return None if self.class_path is None else {"class_path": self.class_path, "init_args": self.init_args or {}}

    @property
    def teachers(self) -> dict[str, str]:
        """SHA-256 of every teacher by its place below `model.init_args`: of the engine, and of the objective."""
        first = self.members or ({} if self.teacher is None else {"teacher": self.teacher})
        inner = {} if self.recipe is None else {"init_args": self.recipe.init_args}
        return first | dict(hashes(inner, "objective"))

    @property
    def tree(self) -> dict[str, Any]:
        """Plain values, as a checkpoint holds them."""
        return dict(to_tree(self))

    @property
    def text(self) -> str:
        """As a safetensors file holds it."""
        return json.dumps(self.tree, allow_nan=False)


def card_from(content: Any, path: str | Path) -> Card:
    """The card in the text or the tree that a file holds; raises UserError, naming key and value, for a damaged one.

    Keys of other versions are ignored, and missing ones become None.
    """
    try:
        tree = parsed(content) if isinstance(content, str) else content
        check_size(tree)
        if not isinstance(tree, dict):
            raise UserError(f"{path} describes its network by a {type(tree).__name__}; expected a mapping")
        card: Card = from_tree(Card, tree, strict=False)
        return card
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} describes its network wrongly ({reason_of(error)}); expected what `ard fit` writes"
        ) from error


def difference(card: Card, classes: Sequence[str], input_shape: Sequence[int]) -> str:
    """How images differ from those that a network was trained on; empty where they do not, or nobody says it."""
    theirs, ours = list(card.classes or ()), [str(name) for name in classes]
    both = enumerate(zip_longest(theirs, ours)) if theirs and ours else ()
    for place, (their, our) in both:
        if their != our:
            end = " (the same names in another order)" if sorted(theirs) == sorted(ours) else ""
            return f"class {place} is {their!r} in the weights and {our!r} in the data{end}"
    if card.input_shape and input_shape and tuple(card.input_shape) != tuple(input_shape):
        return f"images of {tuple(card.input_shape)} in the weights and {tuple(input_shape)} in the data"
    return ""


def check_images_of(card: Card, path: str | Path, data: Any, *, allow_mismatch: bool) -> None:
    """Raises UserError where `data` have other classes or images than the weights at `path`, or another order; or where
    they keep another fold for test, whose images these weights may have learned."""
    if allow_mismatch:
        return
    check_fold(card, path, data)
    if differs := difference(card, data.classes, data.input_shape):
        raise UserError(
            f"{path}: {differs}: the answers would count for other classes; expected the data of the weights, or "
            "--allow-mismatch where both mean the same"
        )


def check_fold(card: Card, path: str | Path, data: Any) -> None:
    """Raises UserError where the weights at `path` may have learned the images that `data` keep for test."""
    ours = getattr(data, "test_images_by", {"fold": getattr(data, "fold", None)})
    theirs = said(card.data, list(ours))
    drawn = "test_size" in theirs  # else another kind of data set, whose other settings mean something else
    asked = [key for key in ours if card.data and (key == "fold" or drawn)]
    _check_alike(path, {key: (theirs.get(key), ours[key]) for key in asked}, "test")


def check_unseen(card: Card, path: str | Path, data: Any, *, allow_mismatch: bool) -> None:
    """Raises UserError where the weights at `path` have learned images that `data` keep for test.

    Warns of images that a data set has in both parts, and where nobody can know it: earlier versions chose photographs for
    test by their names, and wrote no digests.
    """
    files = getattr(data, "image_files", None)
    if allow_mismatch or files is None:
        return
    learned, training = set(card.learned or ()), set(files.learned or ())
    if seen := files.tested(learned - training):
        raise UserError(
            f"{path} has learned {len(seen)} of the {len(files.test)} test images of {data.title} "
            f"({first_few(seen, 3)}): expected images it has not seen, or --allow-mismatch"
        )
    if both := files.tested(learned & training):
        warnings.warn(
            f"{len(both)} of the {len(files.test)} test images of {data.title} are among its training images, too "
            f"({first_few(both, 3)}): delete one of each",
            stacklevel=2,
        )
    photographs = "test_size" in data.test_images_by and said(card.data, ["test_size"])
    if photographs and card.learned is None and files.learned is not None:
        warnings.warn(f"{path} does not say which photographs it has learned: test images may be among them", stacklevel=2)


def check_validation(card: Card, path: str | Path, data: Any) -> None:
    """Raises UserError where the weights at `path` may have learned the images that `data` keep for validation."""
    ours, theirs = data.validation_images_by, said(card.data, [*data.validation_images_by])
    if str(own_section(card.data).get("class_path")).rpartition(".")[2] == type(innermost(data)).__name__:
        _check_alike(path, {key: (their, ours[key]) for key, their in theirs.items()}, "validation")


def innermost(data: Any) -> Any:
    """The data set that others are made of."""
    return innermost(data.base) if hasattr(data, "base") else data


def own_section(section: Any) -> dict[str, Any]:
    """The `data:` section of the data set itself, whatever is around it, of a card, which may hold anything; else empty."""
    section = section if isinstance(section, dict) else {}
    arguments = section.get("init_args")
    base = arguments.get("base") if isinstance(arguments, dict) else None
    return own_section(base) if base else section


def _check_alike(path: str | Path, settings: Mapping[str, tuple[Any, Any]], purpose: str) -> None:
    for key, (their, our) in settings.items():
        if their != our:
            raise UserError(
                f"{path} was trained with {key} = {_shown(their)}, and may have learned what is for {purpose} with "
                f"{key} = {_shown(our)}: expected weights of the same {key}, or --allow-mismatch"
            )


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
