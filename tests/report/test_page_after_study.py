"""Every `ard study` ends with a page, and one of each run; one that cannot be written takes nothing from the study."""

from pages import Page


def test_a_study_ends_with_a_page(study_place, fake, study):  # noqa: ARG001
    small = {"recipes": ["pgd_at", "natural"], "teachers": {}, "overrides": {}, "baseline": "natural"}
    folder = study_place / "checkpoints/tiny"
    (folder / "report.html").mkdir(parents=True)
    status, out, err = study(**small)
    assert (status, "| pgd_at |" in out) == (0, True)
    assert err == "ard: warning: no page, checkpoints/tiny/report.html: cannot be written (Is a directory)\n"
    (folder / "report.html").rmdir()
    status, out, err = study(**small)
    assert (status, err) == (0, "")
    assert "Page: checkpoints/tiny/report.html, and one of each run." in out
    page = Page.of(folder / "report.html")
    assert page.table("Differences in points")[0][0][0] == "Method − natural"  # the baseline of the study
    links = {one["href"] for one in page.all_of("a") if one["href"].endswith(".html")}
    assert links == {"pgd_at/seed0/report.html", "natural/seed0/report.html"}
    assert all((folder / link).is_file() for link in links)


def test_the_page_of_a_condition_has_what_is_under_none_too(study_place, fake, study):  # noqa: ARG001
    """Its baseline lies outside its folder."""
    conditions = {"slow": {"model.init_args.training.lr": 0.01}, "fast": {"model.init_args.training.lr": 1}}
    asked = {"recipes": ["pgd_at", "natural"], "teachers": {}, "overrides": {}, "conditions": conditions}
    status, out, err = study(**asked, without_condition=["natural"], baseline="natural")
    assert (status, err) == (0, "")
    assert "Page: checkpoints/tiny/fast/report.html, and one of each run." in out
    page = Page.of(study_place / "checkpoints/tiny/fast/report.html")
    assert page.table("Differences in points")[0][0][0] == "Method − natural"
    links = {one["href"] for one in page.all_of("a") if one["href"].endswith(".html")}
    assert all((study_place / "checkpoints/tiny/fast" / link).is_file() for link in links)
    assert any(link.startswith("../") for link in links)
