"""ard.report.comparison: the picture that suits the rows, and what it draws of them."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from small_records import TRAINING, first, write, write_study
from tiny import user_error

from ard.__main__ import main
from ard.artifacts.facts import Pruned
from ard.artifacts.record_file import read_record
from ard.report.comparison import MOST_IN_PLANE, Comparison, compare_records
from ard.report.grouping import group, load_records
from ard.report.knobs import knobs_of
from ard.report.page.study_page import looks_of, placed
from ard.report.page.study_page import tradeoff as tradeoff_chart
from ard.report.pictures import frontier, gains, ranking, seconds, tradeoff
from ard.report.pictures.apart import RINGS, apart
from ard.report.pictures.breaks import spans
from ard.report.pictures.formats import formats_of
from ard.report.pictures.frontier import matched_table
from ard.report.pictures.marks import MARKERS, title
from ard.report.pictures.seconds import draw_seconds
from ard.report.pictures.style import save

SWEPT = {"0.5": (0.99, 0.5), "1": (0.98, 0.6), "6": (0.95, 0.7), "12": (0.94, 0.65)}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is written, to look at."""
    written: list[Figure] = []

    def kept(figure: Figure, *paths: Path) -> None:
        save(figure, *paths)
        written.append(figure)

    for module in (frontier, gains, ranking, seconds, tradeoff):
        monkeypatch.setattr(module, "save", kept)
    return written


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    for value, (clean, worst) in SWEPT.items():
        write(tmp_path / f"trades-beta-{value}/seed0/evaluation.json", first(clean), first(worst))
    return tmp_path


def test_a_crowd_gets_a_line_each_from_the_least_robust_up(tmp_path: Path, figures: list[Figure]) -> None:
    study = write_study(tmp_path / "study")
    for k in range(MOST_IN_PLANE):
        write(study / f"method{k}/seed0/evaluation.json", first(0.9), first(0.04 * k))
    assert f"Picture: {study / 'ranking.png'}" in compare_records([study], study)
    names = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert names == [*(f"method{k}" for k in range(MOST_IN_PLANE)), "pgd_at", "ard", "robust (teacher)"]
    worst = figures[0].axes[0]
    points = [line for line in worst.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"]
    filled = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in points)
    assert [x for _, x in filled] == pytest.approx([*(4.0 * k for k in range(MOST_IN_PLANE)), 70, 80, 90])


def test_rows_far_from_the_others_do_not_squeeze_them_and_are_written_as_numbers(
    tmp_path: Path, figures: list[Figure]
) -> None:
    for k in range(MOST_IN_PLANE):
        write(tmp_path / f"method{k}/seed0/evaluation.json", first(0.9), first(0.5 + 0.01 * k))
    write(tmp_path / "natural/seed0/evaluation.json", first(0.95), first(0.0))
    write(tmp_path / "natural/seed0/last.evaluation.json", first(0.95), first(0.02))
    write(tmp_path / "method3/seed0/last.evaluation.json", first(0.9), first(0.1))  # overfitted in the end
    compare_records([tmp_path], tmp_path)
    worst, clean = figures[0].axes
    low, high = worst.get_xlim()
    assert 40 < low < 50 < 63 < high < 70
    names = [label.get_text() for label in worst.get_yticklabels()]
    assert {names[round(text.get_position()[1])]: text.get_text() for text in worst.texts} == {
        "natural": "◂ 0.0, last 2.0",
        "method3": "◂ last 10.0",
    }
    assert not clean.texts


def test_33_rows_are_legible(tmp_path: Path, figures: list[Figure]) -> None:
    for k in range(33):
        write(tmp_path / f"method{k}/seed0/evaluation.json", first(0.9), first(0.5 + 0.01 * k))
    compare_records([tmp_path], tmp_path)
    figures[0].draw_without_rendering()
    labels = figures[0].axes[0].get_yticklabels()
    boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in labels)
    assert len(boxes) == 33
    assert all(below[1] <= above[0] for below, above in pairwise(boxes))
    assert min(label.get_fontsize() for label in labels) >= 8


def test_natural_training_does_not_stretch_the_plane(tmp_path: Path, figures: list[Figure]) -> None:
    """An axis with a cut: both parts on one scale, every row in one of them."""
    study = write_study(tmp_path / "study")
    write(study / "natural/seed0/evaluation.json", first(0.97), first(0.0))
    compare_records([study], study)
    below, above = figures[0].axes
    assert below.get_ylim()[0] <= 0 < below.get_ylim()[1] < 10
    assert 55 < above.get_ylim()[0] < 70 < 90 < above.get_ylim()[1] <= 100
    assert _scale(below) == pytest.approx(_scale(above), rel=0.02)
    assert [text.get_text() for text in below.texts] == ["natural"]
    assert {text.get_text() for text in above.texts} == {"robust (teacher)", "ard", "pgd_at"}


def _scale(axes: Axes) -> float:
    low, high = axes.get_ylim()
    return axes.bbox.height / (high - low)


def test_no_marks_lie_upon_one_another_and_bars_cross_at_the_value(tmp_path: Path, figures: list[Figure]) -> None:
    for name, worst in (("a", 0.7), ("b", 0.7), ("c", 0.702), ("d", 0.704), ("e", 0.62)):
        write(tmp_path / f"{name}/seed0/evaluation.json", first(0.9), first(worst))
    compare_records([tmp_path], tmp_path)
    (axes,) = figures[0].axes
    marks = [line for line in axes.lines if line.get_marker() in MARKERS]
    places = axes.transData.transform([(line.get_xdata()[0], line.get_ydata()[0]) for line in marks])
    assert len(places) == 5
    nearest = min(np.hypot(*(one - other)) for one, other in combinations(places, 2))
    assert nearest >= tradeoff.KEPT_APART * 200 / 72 * 0.99
    upright = [
        line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 and np.ptp(line.get_ydata()) > 1
    ]
    assert upright == pytest.approx([90.0] * 5)


@pytest.mark.parametrize("layout", ["tradeoff", "ranking", "frontier"])
def test_pictures_for_papers_are_the_same_to_the_byte_and_undated(tmp_path: Path, layout: str) -> None:
    study = write_study(tmp_path / "study")
    for k in range(MOST_IN_PLANE if layout == "ranking" else 3):
        write(
            study / f"trades-{'beta' if layout == 'frontier' else 'x'}-{k + 1}/seed0/evaluation.json", first(0.9), first(0.6)
        )
    formats = ("png", "svg", "pdf")
    text = compare_records([study], study / "a", formats=formats)
    compare_records([study], study / "b", formats=formats[1:])
    assert f"Picture: {', '.join(str(study / 'a' / f'{layout}.{kind}') for kind in formats)}. Error bars" in text
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF")):
        content = (study / "a" / f"{layout}.{kind}").read_bytes()
        assert content.startswith(start)
        assert not any(word in content for word in (b"CreationDate", b"dc:date", b"/Type3"))
        assert content == (study / "b" / f"{layout}.{kind}").read_bytes()
    assert not (study / "b" / f"{layout}.png").exists()


def test_formats_are_named_and_nothing_is_written_for_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "study")
    assert formats_of("SVG, .pdf,svg") == ["svg", "pdf"]
    for wrong in ("jpg", "png,jpg", ","):
        assert main(["compare", str(study), "--formats", wrong]) == 2
        assert f"ard: formats '{wrong}': expected one or several of png, svg, pdf" in capsys.readouterr().err
    assert not (study / "table.md").exists()


def test_the_title_has_data_number_of_images_suite_and_threat(tmp_path: Path) -> None:
    rows = group(load_records([write_study(tmp_path)]))
    assert title(rows, []) == "Digits, n = 500, suite quick, Linf 0.15"
    assert title(rows, ["n", "suite"]) == "Digits, Linf 0.15"


def test_an_empty_stretch_is_left_out() -> None:
    assert spans([(60, 70), (55, 65), (80, 90)]) == [(pytest.approx(53.6), pytest.approx(91.4))]
    assert spans([(55, 65), (0, 1), (6, 12), (64, 87)]) == [
        (pytest.approx(-1.76), pytest.approx(13.76)),
        (pytest.approx(53.24), pytest.approx(88.76)),
    ]
    assert spans([(0, 50), (10, 12), (60, 70)]) == [(pytest.approx(-2.8), pytest.approx(72.8))]  # 10 empty points of 70
    assert spans([(40, 40)]) == [(39.5, 40.5)]


def test_marks_move_as_little_as_they_must() -> None:
    points = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 0.0], [1.0, 0.0], [30.0, 5.0]])
    places = apart(points, 10)
    assert np.array_equal(places[:2], points[:2])
    assert min(np.hypot(*(one - other)) for one, other in combinations(places, 2)) >= 10
    assert np.hypot(*(places - points).T).max() <= 10 * RINGS[1]
    assert np.array_equal(apart(points, 0), points)


def test_swept_runs_are_joined_in_the_order_of_the_knob(swept: Path, figures: list[Figure]) -> None:
    write(swept / "ard/seed0/evaluation.json", first(0.9), first(0.5))
    assert f"Picture: {swept / 'frontier.png'}" in compare_records([swept], swept)
    joined = next(line for line in figures[0].axes[0].lines if len(line.get_xdata()) == len(SWEPT))
    assert np.column_stack(joined.get_data()) == pytest.approx(100 * np.array(list(SWEPT.values())))


def test_two_values_are_no_sweep_and_names_with_dashes_no_knobs(tmp_path: Path) -> None:
    for name in ("trades-beta-1", "trades-beta-6", "ard-as-released", "net-v-2"):
        write(tmp_path / f"{name}/seed0/evaluation.json", first(0.9), first(0.5))
    assert knobs_of(group(load_records([tmp_path]))) == []
    assert "tradeoff.png" in compare_records([tmp_path], tmp_path)


def test_the_most_robust_setting_at_a_clean_accuracy(swept: Path) -> None:
    table = matched_table(group(load_records([swept])))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1].strip("| ") for line in table.splitlines()[2:6]}
    assert rows == {"94.0": "70.0 (6)", "94.7": "70.0 (6)", "96.5": "60.0 (1)", "98.2": "50.0 (0.5)"}


def lines_of(folder: Path, **options: Any) -> dict[str, list[float]]:
    """The knobs' names and the worst case of their rows, in the table's order and in the page's."""
    compared = Comparison.of(load_records([folder]), **options)
    knobs = {knob.label: [100 * row.mean("worst") for _, row in knob.rows] for knob in knobs_of(compared.rows)}
    lines = tradeoff_chart(placed(compared.rows, compared.differ, looks_of(compared.rows)), "").lines
    assert {line.name: [y for _, y in line.points] for line in lines} == {
        f"{label.removesuffix(')').replace(' (', ', ')} swept": values for label, values in knobs.items()
    }
    return knobs


def test_a_sweep_of_two_studies_is_two_knobs(swept: Path) -> None:
    for value, (clean, worst) in SWEPT.items():
        write(swept / f"again/trades-beta-{value}/seed0/evaluation.json", first(clean), first(worst - 0.1))
    assert lines_of(swept) == {
        f"{swept.name}/trades (beta)": pytest.approx([50, 60, 70, 65]),
        "again/trades (beta)": pytest.approx([40, 50, 60, 55]),
    }


def test_a_sweep_measured_in_two_ways_is_two_knobs(swept: Path) -> None:
    for value, (clean, worst) in SWEPT.items():
        path = swept / f"trades-beta-{value}/seed1/evaluation.json"
        write(path, first(clean), first(worst - 0.1), threat={"norm": "Linf", "eps": 0.2})
    assert lines_of(swept, mixed=True) == {
        "trades, Linf 0.15 (beta)": pytest.approx([50, 60, 70, 65]),
        "trades, Linf 0.2 (beta)": pytest.approx([40, 50, 60, 55]),
    }


def test_two_settings_that_end_alike_and_two_starts_are_knobs_of_their_own(swept: Path) -> None:
    pruned = Pruned(how="magnitude", keep=0.5, of="f" * 64, nonzero=50, seed=0)
    for value, (clean, worst) in SWEPT.items():
        run = read_record(swept / f"trades-beta-{value}/seed0/evaluation.json").run
        assert run is not None
        other = replace(run, swept={"model.init_args.training.beta": float(value)})
        write(swept / f"other-{value}/seed0/evaluation.json", first(clean), first(worst - 0.1), run=other)
        write(swept / f"pruned-{value}/seed0/evaluation.json", first(clean), first(worst - 0.2), run=run, pruned=pruned)
    assert lines_of(swept) == {
        "magnitude-0.5-then-trades (beta)": pytest.approx([30, 40, 50, 45]),
        "trades (model.init_args.objective.init_args.beta)": pytest.approx([50, 60, 70, 65]),
        "trades (model.init_args.training.beta)": pytest.approx([40, 50, 60, 55]),
    }


def test_who_is_above_the_baseline_is_said(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for seed in (1, 2):
        write(study / f"ard/seed{seed}/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.95), first(0.7))
    assert "Above pgd_at in the worst case, significantly: ard (of 1)." in compare_records([study], study, baseline="pgd_at")
    assert "Above ard in the worst case, significantly: none (of 1)." in compare_records([study], study, baseline="ard")


def timed(study: Path, took: dict[str, tuple[float, ...]], **changes: Any) -> None:
    """A run for each number of seconds, the more accurate the longer the name."""
    for name, numbers in took.items():
        for seed, number in enumerate(numbers):
            facts = replace(TRAINING, seed=seed, device_seconds=number, **changes)
            worst = first(0.4 + len(name) / 100)
            write(study / f"{name}/seed{seed}/evaluation.json", first(0.9), worst, training=facts)


def test_accuracy_is_drawn_against_seconds_of_training_where_rows_say_them(tmp_path: Path, figures: list[Figure]) -> None:
    timed(tmp_path, {"ab": (8.0, 12.0), "abcd": (40.0,), "abc": (60.0,)})
    write(tmp_path / "old/seed0/evaluation.json", first(0.9), first(0.5))
    text = compare_records([tmp_path], tmp_path / "out")
    assert f"seconds of training: {tmp_path / 'out' / 'seconds.png'}. Without old." in text
    axes = figures[-1].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().startswith("CPU seconds of training")
    points = {line.get_marker(): line for line in axes.lines if len(line.get_xdata()) == 1}
    found = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in points.values())
    assert found == [(pytest.approx(10), pytest.approx(42)), (40, pytest.approx(44)), (60, pytest.approx(43))]
    assert [8, 12] in [sorted(line.get_xdata()) for line in axes.lines]  # from the fastest run of a row to the slowest
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert [list(line.get_xdata()) for line in steps] == [[10, 40]]  # abc is slower and no better
    names = {text.get_text() for text in axes.texts}
    assert names == {"ab", "abc", "abcd"}
    assert "device_seconds" in (tmp_path / "out" / "table.csv").read_text().splitlines()[0]
    assert "| 10 s |" in text


def test_what_each_of_three_teachers_is_worth_is_drawn_against_its_lead(tmp_path: Path, figures: list[Figure]) -> None:
    study = tmp_path / "study"
    for name, (teacher, student) in {"5k": (0.6, 0.66), "20k": (0.8, 0.72), "78k": (0.9, 0.71)}.items():
        weights = {"path": "student.safetensors", "sha256": f"{len(name)}{name}".ljust(64, "0").replace("k", "a")}
        write(study / f"teachers/{name}/evaluation.json", first(0.9), first(teacher), weights=weights)
        write(study / f"rslad-{name}/seed0/evaluation.json", first(0.9), first(student), teacher=weights["sha256"])
    write(study / "ard-5k/seed0/evaluation.json", first(0.9), first(0.5), teacher="25a".ljust(64, "0"))  # of one teacher
    write(study / "pgd_at/seed0/evaluation.json", first(0.9), first(0.7))
    text = compare_records([study], tmp_path / "out", baseline="pgd_at")
    assert f"What each teacher is worth: {tmp_path / 'out/gains.png'}." in text
    (axes,) = figures[-1].axes
    (curve,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert curve.get_label() == "rslad"
    assert list(curve.get_xdata()) == pytest.approx([-10, 10, 20])
    assert list(curve.get_ydata()) == pytest.approx([-4, 2, 1])
    assert [label.get_text() for label in axes.texts] == ["5k", "20k", "78k"]
    assert "each teacher is worth" not in compare_records([study], tmp_path / "other", baseline="rslad-5k")
    assert not (tmp_path / "other/gains.png").exists()


def test_seconds_of_several_devices_or_of_one_row_are_not_drawn(tmp_path: Path) -> None:
    timed(tmp_path / "one", {"ab": (8.0, 12.0)})
    write(tmp_path / "one/old/seed0/evaluation.json", first(0.9), first(0.5))
    timed(tmp_path / "two", {"ab": (8.0,)})
    timed(tmp_path / "two", {"abc": (8.0,)}, device="cuda: another")
    write_study(tmp_path / "three")
    timed(tmp_path / "four", {"ab": (8.0, 0.0), "abc": (8.0,)})  # a rehearsal takes so little that it is written as 0
    for name in ("one", "two", "three", "four"):
        text = compare_records([tmp_path / name], tmp_path / name / "out")
        assert "seconds of training" not in text
        assert not (tmp_path / name / "out" / "seconds.png").exists()
    assert "device time" not in (tmp_path / "three" / "out" / "table.md").read_text()
    with user_error("no row says what its device worked"):
        draw_seconds(group(load_records([tmp_path / "three"])), [], tmp_path / "x.png")
