"""`ard fit` and `ard validate`."""

from collections.abc import Sequence

from ard.cli.help_text import ALL, FOR_HELP, all_options, run_help
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_files, check_run
from ard.cli.short_words import expanded, named_as_typed
from ard.commands import exit_statuses
from ard.core.supervision import supervised
from ard.core.terminal import say


def fit_student(words: Sequence[str]) -> int:
    """Train one student, or measure a checkpoint again; `words` are the verb and its options."""
    if FOR_HELP & set(words):
        say(all_options() if ALL in words else run_help(words[0], exit_statuses(words[0])))
        return 0
    with supervised():
        run_words = expanded(words)
        check_files(check_run(run_words))
        with quick_imports():
            from ard.cli.lightning import run

        with named_as_typed(words):
            return run(run_words)
