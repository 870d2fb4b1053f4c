"""The verb: without options the machine, with those of a run that run."""

from collections.abc import Iterable, Sequence

from ard.cli.messages import show
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_run
from ard.doctor.advice import Advice, advice_table

HELP = """usage: ard doctor
       ard doctor -c configs/<data>.yaml -c configs/objectives/<method>.yaml [any option of ard fit]

Alone: packages, disk, device, and what each lever of speed brings here.

With the options of a run, that run, in under a minute, and nothing on disk changes (but for a data set that has to be
fetched): pixels and labels, the splits and what they share, the teacher (clean accuracy, PGD-10, classes, the data it was
trained on), room for the checkpoints to come, the logger, a training step, and what the whole run will cost.

Exit status 1 where something is wrong, 0 where there are warnings at most.
"""


def doctor(words: Sequence[str]) -> int:
    """Print a table of findings and return the exit status; `words` are the verb and the options of a run, if any."""
    options = words[1:]
    if {"-h", "--help"} & set(options):
        print(HELP, end="")
        return 0
    if options:
        check_run(["fit", *options])
    with quick_imports():
        from ard.doctor.machine import examine_machine
        from ard.doctor.preflight import preflight

    findings = preflight(options) if options else examine_machine()
    show(advice_table(findings))
    return doctor_status(findings)


def doctor_status(findings: Iterable[Advice]) -> int:
    """1 where there is an error."""
    return int(any(finding.verdict == "error" for finding in findings))
