"""`ard doctor`: checks this machine, or with the options of a run that run."""

from collections.abc import Iterable, Sequence

from ard.cli.messages import show
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_image_files, check_run
from ard.cli.short_words import expanded, named_as_typed, split_words
from ard.core.terminal import say
from ard.doctor.advice import Advice, advice_table

HELP = """usage: ard doctor
       ard doctor BASE METHOD [SCHEDULE] [any option of ard fit]

Without options: packages, disk, device, and what each speed-up brings here.

With the words of a run, that run is checked in under a minute: pixels and
labels, images that are in two splits, the teacher (clean accuracy, PGD-10,
classes, the data it was trained on), disk space for the checkpoints, the
logger, a training step, and the cost of the whole run. Nothing on disk is
changed, but what is missing is downloaded: a data set, a teacher of
RobustBench, pretrained weights of torchvision.

Exit status: 0 ok, or warnings only; 1 errors; 2 no run can be built of the words.
"""


def doctor(words: Sequence[str]) -> int:
    """Print a table of advice and return the exit status; `words` are the verb and the options of a run, if any."""
    options = list(words[1:])
    if {"-h", "--help"} & set(options):
        say(HELP.rstrip())
        return 0
    if options:
        options = expanded(["fit", *options])[1:]
        check_image_files(check_run(["fit", *options]))
    with quick_imports():
        from ard.doctor.machine import examine_machine
        from ard.doctor.preflight import preflight

    with named_as_typed(words):
        advice = preflight(options) if options else examine_machine()
    if options:
        say(f"configs: {', '.join(split_words(options)[0])}")
    show(advice_table(advice))
    return doctor_status(advice)


def doctor_status(advice: Iterable[Advice]) -> int:
    """1 where there is an error."""
    return int(any(one.verdict == "error" for one in advice))
