"""`ard study`."""

from collections.abc import Sequence
from pathlib import Path

from ard.cli.messages import show
from ard.cli.quick_imports import quick_imports
from ard.configs.catalogue import find
from ard.core.errors import UserError
from ard.core.terminal import say


def study(config: str, jobs_per_device: int | None = None) -> int:
    """Train teachers and students, evaluate and compare them; finished runs are not repeated.

    Args:
        config: the study: a file, or the name of one that comes with ard, such as digits.
        jobs_per_device: runs at a time on each GPU (or on the CPU), instead of the study's `jobs`.
    """
    from ard.study.study_file import read_study

    if jobs_per_device is not None and jobs_per_device < 1:
        raise UserError(f"--jobs-per-device {jobs_per_device}: expected at least 1")
    path = find(config, "studies")
    read_study(path)  # its mistakes are reported before anything large is imported
    with quick_imports():
        from ard.cli.lightning import resolve_config
        from ard.study.study import run_study

    status, table = run_study(path, resolve_config, _compared, jobs_per_device)
    show(table)
    return status


def _compared(directories: list[Path], output: Path, *, baseline: str | None, ladder: Sequence[str]) -> str:
    """The table, and where the page is; a page that cannot be written takes nothing from the study."""
    from ard.report.comparison import compare_records
    from ard.report.page.writing import write_pages

    table = compare_records(directories, output, baseline=baseline, ladder=ladder)
    try:
        return f"{table}\nPage: {write_pages(directories[0], baseline=baseline)[0]}, and one of each run."
    except UserError as error:
        say(f"ard: warning: no page, {error}", error=True)
        return table
