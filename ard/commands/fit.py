"""`ard fit` and `ard validate`."""

from collections.abc import Sequence

from ard.cli.network_section import with_teachers_network
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_files, check_run
from ard.core.supervision import supervised


def fit_student(words: Sequence[str]) -> int:
    """Train one student, or measure a checkpoint again; `words` are the verb and its options."""
    with supervised():
        words = with_teachers_network(words)
        if not {"-h", "--help"} & set(words):
            check_files(check_run(words))
        with quick_imports():
            from ard.cli.lightning import run

        run(list(words))
    return 0
