"""`ard study`."""

from collections.abc import Sequence
from pathlib import Path

from ard.cli.messages import show
from ard.cli.quick_imports import quick_imports
from ard.configs.catalogue import find
from ard.core.errors import UserError
from ard.core.terminal import say


def study(config: str, jobs_per_device: int | None = None, devices: int | None = None, rehearse: bool = False) -> int:
    """Train teachers and students, evaluate and compare them; finished runs are not repeated.

    Args:
        config: the study: a file, or the name of one that comes with ard, such as digits.
        jobs_per_device: runs at a time on each GPU (or on the CPU), instead of the study's `jobs`.
        devices: spread the runs over so many GPUs, each run on one of them, instead of the study's `jobs`.
        rehearse: run all of it for a few steps, in checkpoints/<study>-rehearsal, and say what the real one costs.
    """
    from ard.study.study_file import read_study

    for option, number in (("jobs-per-device", jobs_per_device), ("devices", devices)):
        if number is not None and number < 1:
            raise UserError(f"--{option} {number}: expected at least 1")
    path = find(config, "studies")
    read_study(path)  # its mistakes are reported before anything large is imported
    with quick_imports():
        from ard.cli.lightning import resolve_config
        from ard.study.study import Places, rehearse_study, run_study

    run = rehearse_study if rehearse else run_study
    status, table = run(path, resolve_config, _compared, Places(jobs_per_device=jobs_per_device, devices=devices))
    show(table)
    return status


def _compared(
    runs: list[Path], folder: Path, output: Path, *, baseline: str | None, ladders: Sequence[Sequence[str]], last: bool
) -> str:
    """The table of these runs, and where their page is: in `folder`.

    A page that cannot be written takes nothing from the study.
    """
    from ard.report.comparison import compare_records
    from ard.report.page.writing import write_pages

    table = compare_records(runs, output, baseline=baseline, ladders=ladders, last=last)
    try:
        return f"{table}\nPage: {write_pages(folder, runs, baseline=baseline, last=last)[0]}, and one of each run."
    except UserError as error:
        say(f"ard: warning: no page, {error}", error=True)
        return table
