"""Which pages belong to a folder, and writing them: all are made before the first is written."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import ard
from ard.artifacts.paths import RECORDS, RunFolder, StudyFolder, records_below, runs_without_record
from ard.core.errors import UserError
from ard.core.files import write_whole
from ard.report.comparison import Comparison
from ard.report.page.charts import SHAPES
from ard.report.page.run_page import run_context
from ard.report.page.stored_run import StoredRun, is_run, load_run
from ard.report.page.study_page import study_context


def write_pages(
    folder: Path, among: Sequence[Path] | None = None, *, baseline: str | None = None, last: bool = False
) -> list[Path]:
    """Write report.html of a run, or of a study and each of its runs; the first path is that of the folder itself.

    `among` are the runs that belong to the study, where not all below the folder do, or some lie elsewhere; `baseline` names
    the method that differences are taken to; with `last` the students compared are those of last epochs. Raises UserError
    where there is nothing to show, or a record is damaged.
    """
    if is_run(folder):
        if baseline is not None or last:
            option = "--last" if baseline is None else f"--baseline {baseline}"
            raise UserError(f"{option}: {folder} is one run, with nothing beside it; expected the folder of a study")
        pages = {RunFolder(folder).report: page_of_run(load_run(folder))}
    else:
        runs = [load_run(path) for path in (runs_below(folder) if among is None else among)]
        pages = {StudyFolder(folder).report: page_of_study(folder, runs, baseline, last=last)}
        pages |= {run.folder.report: page_of_run(run) for run in runs}
    for path, page in pages.items():
        write_whole(path, page)
    return list(pages)


def runs_below(folder: Path) -> list[Path]:
    """The folders in which runs trained or were evaluated; raises UserError where there is none."""
    try:
        evaluated = {path.parent for path in records_below(folder)}
    except UserError:
        evaluated = set()
    found = sorted(evaluated | set(runs_without_record(folder)))
    if not found:
        raise UserError(
            f"{folder}: nothing to show, no {', '.join(RECORDS)}, metrics.csv or weights below it; expected the folder of a "
            "run or of a study: ard fit or ard evaluate first"
        )
    return found


def page_of_run(run: StoredRun) -> str:
    """The HTML of one run."""
    return _rendered("run.html", run_context(run))


def page_of_study(folder: Path, runs: Sequence[StoredRun], baseline: str | None, *, last: bool = False) -> str:
    """The HTML of a study; without comparison where no record is of the weights beside it."""
    records = [stored for run in runs for stored in run.records if stored.path.name in RECORDS]
    compared = None
    if any(not stored.is_stale for stored in records):
        compared = Comparison.of(
            records, mixed=True, last=last, baseline=baseline, folders=[run.folder.root for run in runs]
        )
    return _rendered("study.html", study_context(folder, runs, compared))


def _rendered(template: str, context: dict[str, Any]) -> str:
    script, template_of = _source("page.js"), _environment().get_template
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    ours = {"script": script, "style": _source("page.css"), "digest": digest, "version": ard.__version__}
    return template_of(template).render(**context, **ours)


@cache
def _environment() -> Environment:
    """Everything that a template shows is escaped, and a name that nobody gave is an error."""
    environment = Environment(
        loader=PackageLoader("ard.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["shapes"] = SHAPES
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
