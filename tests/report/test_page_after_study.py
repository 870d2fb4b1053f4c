"""Every `ard study` ends with a page, and one of each run; one that cannot be written takes nothing from the study."""

from pages import Page
from small_runs import cli


def test_a_study_ends_with_a_page_and_one_of_each_run(study_place, fake, study):  # noqa: ARG001
    status, out, err = study(baseline="fast_ard")
    assert (status, err) == (0, "")
    folder = study_place / "checkpoints/tiny"
    assert "Page: checkpoints/tiny/report.html, and one of each run." in out
    page = Page.of(folder / "report.html")
    methods = [row[0][0].partition(" seed")[0] for row in page.table("Accuracies in percent")[1:]]
    assert {"ard", "fast_ard", "pgd_at", "teachers/robust"} <= set(methods)
    assert page.table("Differences in points")[0][0][0] == "Method − fast_ard"  # the baseline of the study
    links = [one["href"] for one in page.all_of("a") if one["href"].endswith(".html")]
    assert len(set(links)) == 4
    assert all((folder / link).is_file() for link in links)


def test_a_page_that_cannot_be_written_is_a_warning(study_place, fake, study, capsys):  # noqa: ARG001
    (study_place / "checkpoints/tiny/report.html").mkdir(parents=True)
    status, out, err = study()
    assert status == 0
    assert "| ard |" in out
    assert err == "ard: warning: no page, checkpoints/tiny/report.html: cannot be written (Is a directory)\n"
    assert cli(capsys, "report", "checkpoints/tiny")[0] == 2
