"""The command `ard`: finds the verb, and turns errors into one line and an exit status."""

import os
import sys
from importlib import import_module
from pathlib import Path

import ard
from ard.cli.messages import quiet
from ard.commands import SYNONYMS, VERBS, exit_statuses, overview
from ard.core.errors import UserError
from ard.core.suggestions import nearest
from ard.core.terminal import say, secure_streams

LISTED = "ard --help lists them"
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it at the first tensor: else a CPU gets its memory 4 kB at a time


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    secure_streams()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what the Tab key may make of a line
        from ard.cli.completion import complete

        complete({name: (f"ard.commands.{verb.module}", verb.function) for name, verb in VERBS.items()})
    try:
        return _dispatch(argv)
    except UserError as error:
        say(f"ard: {error}", error=True)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        say(f"ard: {error.filename}: cannot be used ({error.strerror})", error=True)
        return 2
    except KeyboardInterrupt:
        say("ard: interrupted", error=True)
        return 130


def _dispatch(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        say(overview())
        return 0
    if name == "--version":
        say(ard.__version__)
        return 0
    name = SYNONYMS.get(name, name)
    if name not in VERBS:
        meant = nearest(name, [*VERBS, *SYNONYMS])
        raise UserError(f"no verb {name!r}; " + (f"did you mean {SYNONYMS.get(meant, meant)!r}?" if meant else LISTED))
    quiet()
    os.environ.setdefault(HUGE_PAGES, "1")
    _current_folder_last()
    verb = VERBS[name]
    if not verb.raw and {"-h", "--help"} & set(argv[1:]):
        from ard.cli.help_text import verb_help

        say(verb_help(name, verb.usage, f"ard.commands.{verb.module}", verb.function, exit_statuses(name)))
        return 0
    function = getattr(import_module(f"ard.commands.{verb.module}"), verb.function)
    if verb.raw:
        return int(function([name, *argv[1:]]))
    from ard.cli.parsing import parse

    return int(function(**parse(name, function, argv[1:], VERBS[name].usage)))


def _current_folder_last() -> None:
    """Make modules of the current folder importable; last in `sys.path`, so that they hide no other module."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
