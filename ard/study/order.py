"""Which run of a study starts next: the first that waits for no other."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from ard.study.study_run import Outcome, StudyRun

Start = Callable[[StudyRun, Mapping[str, Outcome]], Future[Outcome]]


def all_in_order(runs: Sequence[StudyRun], start: Start, at_once: int) -> dict[str, Outcome]:
    """The outcome of every run by its name, when all have ended; raises what one of them raised.

    Started is the first whose teachers and trials have ended, so that no run keeps a place while it waits. `start` is given
    the outcomes so far.
    """
    left, under_way, ended = list(runs), dict[Future[Outcome], str](), dict[str, Outcome]()
    while left or under_way:
        ready = (run for run in left if all(one.name in ended for one in (*run.teachers.values(), *run.trials)))
        if len(under_way) < at_once and (run := next(ready, None)):
            left.remove(run)
            under_way[start(run, dict(ended))] = run.name
        else:
            assert under_way, "runs that wait for none of the study"
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                ended[under_way.pop(future)] = future.result()
    return {run.name: ended[run.name] for run in runs}
