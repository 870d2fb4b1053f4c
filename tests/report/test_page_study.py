"""The page of a study: the numbers of the table with their intervals, one look a method, and links that lead somewhere."""

import re
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from pages import Page, diagnosis_for, shown_of, write_metrics
from small_records import checks, drawn, first, write, write_study
from small_runs import cli
from test_page_run import EVIL, harmless
from tiny import user_error

from ard.artifacts.diagnosis import diagnosis_of, write_diagnosis
from ard.artifacts.facts import Threat
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import read_record
from ard.artifacts.shown import write_shown
from ard.core.statistics import accuracy_interval
from ard.evaluation.rehearsed import NOTE
from ard.report.comparison import compare_records
from ard.report.grouping import group, load_records
from ard.report.page.charts import IN_TURN, TONES, Chart, Look, Piece, PlacedMark, across, cut, kept_apart, upwards
from ard.report.page.pixels import LARGEST, thinned
from ard.report.page.writing import write_pages

MAIN = "Accuracies in percent"


@pytest.fixture
def study(tmp_path):
    """A teacher, two seeds of one student, one of another; their curves."""
    root = write_study(tmp_path / "digits")
    write(root / "ard/seed1/evaluation.json", drawn(0.96, 1), drawn(0.84, 2), teacher="f" * 64)
    for run in ("ard/seed0", "pgd_at/seed0"):
        write_metrics(root / run)
    return root


def page_of(folder, **options):
    path, *_ = write_pages(folder, **options)
    return Page.of(path)


def test_the_table_is_that_of_compare_with_intervals(study):
    """An oracle: of every row the mean, as text and as what it is sorted by, and the interval of its seeds and images."""
    head, *lines = page_of(study).table(MAIN)
    columns = [text for text, _ in head]
    rows = group(load_records([study]))
    assert [line[0][0].partition(" seed")[0] for line in lines] == [row.label for row in rows]
    for kind, name in (("clean", "Clean"), ("worst", "Worst")):
        for row, line in zip(rows, lines, strict=True):
            text, of = line[columns.index(name)]
            low, high = accuracy_interval(row.accuracies(kind), row.first.n)
            assert text.startswith(f"{100 * row.mean(kind):.1f}")
            assert text.endswith(f"{100 * low:.1f} to {100 * high:.1f}")
            assert float(of["data-sort"]) == pytest.approx(row.mean(kind))


def test_differences_and_notes_are_those_of_compare(study):
    page, text = page_of(study, baseline="ard"), compare_records([study], study / "out", baseline="ard")
    lines = [line.strip("| ").split(" | ") for line in text[text.index("| Method − ard |") :].split("\n\n")[0].splitlines()]
    assert [[text for text, _ in row] for row in page.table("Differences in points")] == [lines[0], *lines[2:]]
    assert "Above ard in the worst case, significantly: none (of 1)." in page.text
    assert "dataset Digits, split test, n 500, threat Linf 0.15, suite quick, 1 to 2 seeds." in page.text


def test_last_epochs_are_compared_where_they_are_asked_for(study):
    for method, accuracy in (("pgd_at", 0.76), ("ard", 0.72)):
        write(study / method / "seed0/last.evaluation.json", first(0.9), first(accuracy))
    names = [line[0][0] for line in page_of(study, last=True).table(MAIN)[1:]]
    assert [name for name in names if name.startswith(("ard", "pgd_at")) and "(last)" not in name] == []
    assert "Method − pgd_at (last)" in page_of(study, last=True).text


def test_a_page_is_of_the_runs_that_belong_to_the_study(study):
    path, *_ = write_pages(study, [study / "pgd_at/seed0"])
    assert [line[0][0].partition(" seed")[0] for line in Page.of(path).table(MAIN)[1:]] == ["pgd_at"]


def test_a_rehearsal_says_on_every_page_that_it_is_no_result(study):
    assert "ehearsal" not in page_of(study).text
    write(study / "toy/seed0/evaluation.json", first(0.9), first(0.876), notes=(NOTE,))
    assert "A rehearsal, not a result" in page_of(study).text
    assert NOTE in (study / "toy/seed0/report.html").read_text()
    assert "A REHEARSAL" in str(read_record(study / "toy/seed0/evaluation.json")).splitlines()[0]


def test_every_run_has_a_page_and_is_linked(study):
    (study / "a b#c?" / "seed0").mkdir(parents=True)
    write_metrics(study / "a b#c?" / "seed0")  # trained, and never evaluated
    links = {unquote(one["href"]) for one in page_of(study).all_of("a") if not one["href"].startswith("#")}
    runs = ("teachers/robust", "ard/seed0", "ard/seed1", "pgd_at/seed0", "a b#c?/seed0")
    assert links == {f"{run}/report.html" for run in runs}
    assert all((study / link).is_file() for link in links)


def test_a_method_looks_the_same_in_every_picture(study):
    """The marks and lines that belong together have one tone, and other methods another one."""
    page_of(study)
    html = (study / "report.html").read_text()
    tones = {}
    for key, mark in re.findall(r'data-key="(\w+)".*?class="(?:line|mark) (\w+)', html, re.DOTALL):
        tones.setdefault(key, set()).add(mark)
    assert tones == {"teacher0": {"teacher"}, "method0": {"t0"}, "method1": {"t1"}}
    tips = re.findall(r'data-tip="([^"]*)"', html)
    assert sum(tip.startswith("ard: clean 95.5 % [") for tip in tips) == 3  # once in the plane, twice in the ranking
    assert sum(tip.startswith("pgd_at, seed 0: 5 in epoch 0, 20 in epoch 3") for tip in tips) == 1


def test_titles_of_pictures_say_what_was_measured(study):
    text = page_of(study).text
    assert text.count("Digits, n = 500, suite quick, Linf 0.15. Lines through marks: 95 % interval over test images") == 2


def test_an_unreliable_row_is_nowhere_shown_bare(study):
    failing = checks(V1="pass", V4="fail", M3="fail")
    write(study / "masked/seed0/evaluation.json", first(0.9), first(0.876), verdict="unreliable", checks=failing)
    write_metrics(study / "masked/seed0")
    page = page_of(study)
    html = (study / "report.html").read_text()
    head, *lines = page.table(MAIN)
    row = dict(zip([text for text, _ in head], next(line for line in lines if line[0][0].startswith("masked")), strict=True))
    assert row["FGSM"] == row["Worst"] == ("UNRELIABLE (M3, V4)", {})  # nothing to sort by, so it comes last
    assert "87.6" not in html
    assert "0.876" not in html
    assert "Left out of the pictures as unreliable: masked." in page.text
    assert html.count('data-tip="masked, seed 0: ') == 1  # the curve of clean accuracy alone


def test_diagnoses_stand_side_by_side_among_students_of_one_architecture(study):
    """Not the teacher, not a student of another architecture, not one alone."""
    other = {"class_path": "ard.models.ResNet", "init_args": {"width": 8}}
    write(study / "wide/seed0/evaluation.json", first(0.9), first(0.6), model=other)
    for k, run in enumerate(("teachers/robust", "ard/seed0", "ard/seed1", "pgd_at/seed0", "wide/seed0")):
        record = read_record(study / run / "evaluation.json")
        path = diagnosis_of(study / run / "evaluation.json")
        write_diagnosis(path, diagnosis_for(record, value=0.5 + k))
    table = [[text for text, _ in row] for row in page_of(study).table("Diagnoses of")]
    assert table[0] == ["Method", "seed", "robust accuracy (%)", "looked at: median", "looked at: agreement, attacked"]
    assert [(row[0], row[1], row[3]) for row in table[1:]] == [
        ("ard", "0", "1.5"),
        ("ard", "1", "2.5"),
        ("pgd_at", "0", "3.5"),
    ]
    assert table[1][2].startswith("80.0")
    assert [name for name in page_of(study).tables if name.startswith("Diagnoses of")] == [
        "Diagnoses of MobileNetV2 students, a run a row"
    ]
    other = replace(diagnosis_for(record), threat=Threat(norm="Linf", eps=4 / 255))
    path = study / "pgd_at/seed0/evaluation.json"
    write_diagnosis(diagnosis_of(path), replace(other, weights=read_record(path).weights, model=read_record(path).model))
    assert [row[0][0] for row in page_of(study).table("Diagnoses of")[1:]] == ["ard", "ard"]  # of another radius
    (study / "ard/seed0/diagnosis.json").unlink()
    stale = diagnosis_for(replace(record, weights=replace(record.weights, sha256="b" * 64)))
    write_diagnosis(diagnosis_of(study / "ard/seed1/evaluation.json"), stale)
    assert not [name for name in page_of(study).tables if name.startswith("Diagnoses of")]  # pgd_at alone is left


def test_runs_that_nobody_evaluated_have_a_page_of_curves(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"ard/seed{seed}").mkdir(parents=True)
        write_metrics(tmp_path / f"ard/seed{seed}")
    page = page_of(tmp_path)
    assert "Nothing was evaluated here" in page.text
    assert "Validation accuracy, robust" in page.text


def test_records_that_differ_have_a_page_without_differences(study):
    write(study / "eps/seed0/evaluation.json", first(0.9), first(0.6), threat={"norm": "Linf", "eps": 0.1})
    page = page_of(study)
    assert "No differences: the records differ in threat." in page.text
    assert page.table(MAIN)[0][-1][0] == "threat"
    write(study / "eps/seed0/last.evaluation.json", first(0.9), first(0.5), suite="full")  # one method in two settings
    page = page_of(study)
    names = [
        text for text in re.findall(r">([^<>]+)</text>", (study / "report.html").read_text()) if text.startswith("eps, ")
    ]
    assert len(set(names)) == 2, "in the ranking each on a line of its own"
    with user_error("--baseline ard: these records differ in threat"):
        write_pages(study, baseline="ard")


@pytest.mark.parametrize("options", [["--baseline", "ard"], ["--last"]])
def test_what_compares_is_refused_for_one_run(study, capsys, options):
    run = next(path.parent for path in sorted(study.rglob("evaluation.json")))
    (run / "report.html").unlink(missing_ok=True)
    status, out, err = cli(capsys, "report", run, *options)
    assert (status, out) == (2, "")
    assert f"{' '.join(options)}: {run} is one run, with nothing beside it; expected the folder of a study" in err
    assert not (run / "report.html").exists()


def test_an_unknown_baseline_is_one_line_and_leaves_no_page(study, capsys):
    status, out, err = cli(capsys, "report", study, "--baseline", "adr")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--baseline adr: no such row; expected one of" in err
    assert not list(study.rglob("report.html"))


def test_what_files_say_is_text_here_too(study):
    name = re.sub("/", "", EVIL)
    record = write(study / name / "seed0/evaluation.json", first(0.9), first(0.6), teacher=None, suite="quick")
    write_metrics(study / name / "seed0")
    for run in ("pgd_at/seed0", f"{name}/seed0"):
        path = study / run / "evaluation.json"
        write_diagnosis(diagnosis_of(path), diagnosis_for(read_record(path), name=EVIL))
    assert record.run.method == name
    page = page_of(study)
    harmless(page)
    assert page.text.count(name) >= 6


def test_a_study_of_twenty_runs_stays_small(tmp_path):
    """Its own page, and that of a run with 24 images of CIFAR's size, of noise, which no PNG can pack."""
    for k in range(20):
        path = tmp_path / f"method{k}/seed0/evaluation.json"
        record = write(path, drawn(0.9, k), drawn(0.5, k))
        write_metrics(path.parent, epochs=100)
    write_shown(RecordFiles(path).shown, shown_of(record, count=24, shape=(3, 32, 32)))
    page, *others = write_pages(tmp_path)
    assert page.stat().st_size < 1e6
    assert 2e5 < max(other.stat().st_size for other in others) < 1e6


def test_an_axis_puts_its_ends_at_the_ends():
    """Closed form: 5 numbers on a scale from 0 to 100 that lies on pixels 56 to 366."""
    axis = across("", [0, 100])
    assert [axis.place(value) for value in (0, 25, 50, 100)] == [56, 133.5, 211, 366]
    assert [words for _, words in axis.ticks] == ["0", "20", "40", "60", "80", "100"]
    assert upwards("", [0, 100]).place(0) > upwards("", [0, 100]).place(100)


def test_a_cut_axis_keeps_one_scale_and_every_value_in_its_order():
    """Closed form: 20 + 30 points on what 22 pixels leave of the axis; and where nothing is left out, it is what it was."""
    whole = across("", [0, 100])
    axis = cut(whole, [(0, 5), (15, 20), (70, 80), (75, 100)])
    low, high = axis.pieces
    assert (low.low, high.high) == (0, 100)
    assert (low.start, high.end) == (whole.pieces[0].start, pytest.approx(whole.pieces[0].end))
    scales = [(piece.end - piece.start) / (piece.high - piece.low) for piece in axis.pieces]
    assert scales[0] == pytest.approx(scales[1])
    assert high.start - low.end == 22
    places = [axis.place(value) for value in (0, 5, 15, 20, 70, 80, 100)]
    assert places == sorted(places)
    assert cut(whole, [(0, 5), (15, 20), (30, 80), (75, 100)]) is whole
    upright = cut(upwards("", [0, 100]), [(0, 5), (70, 80)])
    assert upright.place(0) > upright.place(5) > upright.place(70) + 20 > upright.place(80)


def test_marks_do_not_cover_one_another():
    """Those that stand alone stay; every one is joined to where it belongs by what it was moved."""
    marks = [PlacedMark(50, 50, "", Look("t0")) for _ in range(4)] + [PlacedMark(90, 90, "", Look("t1"))]
    chart = kept_apart(Chart("", across("", [0, 100]), upwards("", [0, 100]), marks=marks))
    at = np.array([(chart.x.place(mark.x), chart.y.place(mark.y)) for mark in chart.marks])
    at += [mark.moved for mark in chart.marks]
    distances = np.hypot(*(at[:, None] - at[None]).T) + 99 * np.eye(5)
    assert distances.min() >= 8.9
    assert (chart.marks[0].moved, chart.marks[4].moved) == ((0, 0), (0, 0))
    assert (chart.marks[1].x, chart.marks[1].y) == (50, 50)


def test_no_two_of_42_looks_are_alike():
    looks = [Look.numbered(k) for k in range(TONES * len(IN_TURN))]
    assert len({(look.tone, look.shape) for look in looks}) == len(looks)
    assert len({(look.tone, look.dash) for look in looks[:28]}) == 28  # as lines


def test_a_value_outside_a_piece_is_at_its_nearer_end():
    assert [Piece(0, 10, 100, 200).place(value) for value in (-5, 0, 5, 15)] == [100, 100, 150, 200]


def test_a_large_image_is_thinned_without_averaging():
    image = np.arange(3 * 224 * 224, dtype=np.int64).reshape(3, 224, 224)
    small = thinned(image)
    assert max(small.shape) <= LARGEST
    assert np.isin(small, image).all()
