"""The words of a run as people write them: configs by name, options by their short names; as the parser takes them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ard.cli.aliases import ALIASES, dashed
from ard.cli.composed import composed, option_tree
from ard.cli.config_option import OPTIONS, default_folder
from ard.configs.catalogue import OF_A_RUN, find, kind_of_config, short_config_path
from ard.configs.files import is_base, model_arguments, read_yaml
from ard.core.errors import UserError
from ard.core.user_paths import written_out

# Options that need no value: what follows them is one only where it is among these.
BARE = {
    "resume": ("auto", "null"),
    "allow_changes": ("true", "false", "yes", "no"),
    "allow_mismatch": ("true", "false", "yes", "no"),
    "print_config": (),
    "help": (),
}
MEANT = {"resume": "auto", "allow_changes": "true", "allow_mismatch": "true"}  # without a value

Option = tuple[str, str | None]


def expanded(words: Sequence[str]) -> list[str]:
    """The verb, `-c FILE` for every config and `--dotted.key=value` for every option; words that are so already stay.

    Configs come first, so that an option wins wherever it stands; of two options for one key the last wins.
    """
    paths, given, config = _said(words)
    pairs = [pair for option in given for pair in _pairs(*option, config)]
    configs = [word for path in paths for word in ("-c", short_config_path(path))]
    return [words[0], *configs, *(f"--{key}" if value is None else f"--{key}={value}" for key, value in pairs)]


def run_folder(words: Sequence[str]) -> Path:
    """Where the run is written that these words ask for, whichever of them names the folder."""
    _, given, config = _said(words)
    named = [value for option in given for key, value in _plain(*option) if key == "trainer.default_root_dir"]
    return Path(str(named[-1] if named else config["trainer"]["default_root_dir"]))


def _said(words: Sequence[str]) -> tuple[list[Path], list[Option], dict[str, Any]]:
    """The files of the configs, the options, and what both say together, the folder among it."""
    names, given = split_words(words[1:])
    paths = found(names)
    plain = [option_tree(key, value) for option in given for key, value in _plain(*option)]
    config = composed([*map(read_yaml, paths), *plain])
    folder = {"trainer": {"default_root_dir": default_folder(paths, config.get("seed_everything") or 0)}}
    return paths, given, composed([folder, config])


@contextmanager
def named_as_typed(words: Sequence[str]) -> Iterator[None]:
    """A UserError of the block that begins with a key has the short option in its place that said it."""
    try:
        yield
    except UserError as error:
        key, colon, reason = str(error).partition(": ")
        for name, _ in split_words(words[1:])[1]:
            alias = ALIASES.get(name)
            if colon and alias and f".{alias.key}".endswith(f".{key}"):
                error.args = (f"{dashed(name)}: {reason}",)
                break
        raise


def split_words(words: Sequence[str]) -> tuple[list[str], list[Option]]:
    """The configs, named by -c or by standing alone, and every other option with its value, None where it has none."""
    configs, options, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            configs.append(word)
        elif name in OPTIONS:
            configs.append(value if equals else _following(rest, word))
        elif not word.startswith("--"):
            raise UserError(f"{word}: expected the name of a config, or an option, which begins with --")
        else:
            option = name[2:].replace("-", "_")
            takes = not equals and rest and not rest[0].startswith(("--", "-c"))
            if option in BARE:
                takes = takes and rest[0].lower() in BARE[option]
            options.append((option, written_out(value if equals else rest.pop(0) if takes else MEANT.get(option))))
    return configs, options


def found(names: Iterable[str]) -> list[Path]:
    """The files of a run's configs. A bare name is a base while there is none, then a method, then one of the rest.

    Raises UserError for two of ours of which one would take keys of the other: two bases, methods or schedules.
    """
    paths: list[Path] = []
    wanted = list(OF_A_RUN)
    for name in names:
        path = _found(name, wanted)
        paths.append(path)
        tree = read_yaml(path)
        has = {"bases": is_base(tree), "methods": "objective" in model_arguments(tree)}
        wanted = [kind for kind in wanted if not has.get(kind)] + [kind for kind in wanted if has.get(kind)]
    for kinds in (("bases",), ("methods", "teachers"), ("schedules",)):
        alike = [path.stem for path in dict.fromkeys(map(Path.resolve, paths)) if kind_of_config(path) in kinds]
        if len(alike) > 1:
            mixed = f"{' and '.join(alike)}: {len(alike)} {kinds[0]}, which would be mixed"
            raise UserError(f"{mixed}; expected one, and after it files of your own")
    return paths


def _following(rest: list[str], word: str) -> str:
    if not rest:
        raise UserError(f"{word}: expected the name of a config after it; `ard list` shows them")
    return rest.pop(0)


def _found(name: str, wanted: Sequence[str]) -> Path:
    """Of the first kind that has it."""
    for kind in wanted:
        try:
            return find(name, kind)
        except UserError:
            continue
    return find(name, *OF_A_RUN)


def _plain(name: str, value: str | None) -> list[Option]:
    """The keys of an option that does not depend on others."""
    alias = ALIASES.get(name)
    return [] if alias and alias.spelled else [(alias.key if alias else name, value)]


def _pairs(name: str, value: str | None, config: dict[str, Any]) -> Iterable[Option]:
    alias = ALIASES.get(name)
    if alias is None:
        return [(name, value)]
    if not value:
        raise UserError(f"{dashed(name)}: expected a value: {alias.value}, {alias.about}")
    return alias.pairs(value, config)
