"""The page of a run: what it shows is what the files say, what is not there it says, and what they say is never obeyed."""

import base64
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from pages import Page, diagnosis_for, shown_of, write_metrics, write_run
from PIL import Image
from small_records import attack, check, full_record, unreliable, write
from small_runs import cli, files_below
from tiny import user_error

from ard.artifacts.diagnosis import diagnosis_of, pictures_of, write_diagnosis
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import read_record, write_record
from ard.artifacts.shown import read_shown, write_shown
from ard.core.statistics import wilson_interval
from ard.report.page.writing import write_pages

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='alert(3)"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study" / "ard" / "seed0"


def page_of(folder):
    assert write_pages(folder) == [folder / "report.html"]
    return Page.of(folder / "report.html")


def test_everything_that_was_measured_stands_on_the_page(folder):
    record = write_run(folder, summary={"run": {"method": "ard", "seed": 3, "eps": 8 / 255}, "warnings": ["lost an image"]})
    page = page_of(folder)
    low, high = wilson_interval(record.robust_acc, record.n)
    assert f"robust accuracy 53.2 % {100 * low:.1f} to {100 * high:.1f}" in page.text
    for words in ("ard, seed 3", "WideResNet-34-20 on CIFAR-10, Linf 8/255", "Training warned: lost an image", "eps 8/255"):
        assert words in page.text
    attacks = {row[0][0]: row[1][0] for row in page.table("The robust accuracy is the worst case")[1:]}
    assert attacks == {attack.name: f"{100 * attack.accuracy:.1f}" for attack in record.attacks}
    checks = {row[0][0]: row[1][0] for row in page.table("Soundness checks")[1:]}
    assert checks == {check.name: check.verdict for check in record.checks}
    assert "class_path: ard.Distillation" in page.text
    assert f"ard fit -c {folder}/config.yaml --trainer.default_root_dir again" in page.text
    assert "ard evaluate again --suite full --norm Linf --eps 8/255 --seed 7" in page.text
    assert "Not on this page" in page.text  # the weights


def test_the_commands_of_the_page_are_commands(folder):
    """What it tells to type is taken by the parsers of the verbs."""
    from ard.cli.parsing import parse
    from ard.commands.diagnose import diagnose_weights
    from ard.commands.evaluate import evaluate_weights

    write_run(folder, limit=100, split="val", threat={"norm": "L2", "eps": 0.5, "eight_bit": True})
    commands = [
        line.split()
        for line in re.findall(r"<code>(ard .*)</code>", (page_of(folder), folder / "report.html")[1].read_text())
    ]
    assert [words[1] for words in commands] == ["fit", "evaluate", "diagnose"]
    request = parse("evaluate", evaluate_weights, commands[1][2:])["request"]
    assert (request.suite, request.norm, request.eps, request.split, request.limit) == ("full", "L2", "0.5", "val", 100)
    assert request.eight_bit
    look = parse("diagnose", diagnose_weights, commands[2][2:])
    assert (look["weights"], look["only"], look["eps"], look["limit"]) == (["again"], "looked_at", "0.5", 10000)


def test_what_was_given_to_an_evaluation_is_asked_for_again(folder):
    given = {"teacher": "a" * 64, "transfer": {"x": "b" * 64, "y": "c" * 64}}
    attacks = (attack("torchattacks.MIFGSM", 0.5317), attack("torchattacks.FFGSM", 0.5317))
    write_run(folder, given=given, attacks=attacks, autoattack_acc=None)
    assert "--seed 7 --attacks MIFGSM,FFGSM --teacher FILE --transfer FILE,FILE" in page_of(folder).text
    (folder / "evaluation.json").rename(folder / "last.evaluation.json")
    assert "ard evaluate again/last.safetensors --suite" in page_of(folder).text


def test_weights_of_another_name_are_named_where_they_are_measured_again_and_no_table_is_of_them(folder, capsys):
    write(folder / "best.evaluation.json", np.arange(480) < 400, np.arange(480) < 300)
    (folder / "best.pt").touch()
    assert f"ard evaluate {folder}/best.pt --suite" in page_of(folder).text
    for words in (["compare", folder], ["report", folder, "--model-card"]):
        status, out, err = cli(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert (
            "found no evaluation.json or last.evaluation.json; but best.evaluation.json: name those weights student" in err
        )


def test_accuracy_against_the_radius_has_every_point_with_its_interval(folder):
    record = write_run(folder)
    tips = [one["data-tip"] for one in page_of(folder).all_of("g") if "data-tip" in one]
    for point in record.curve[1:]:
        low, high = wilson_interval(point.accuracy, record.n)
        assert any(tip.endswith(f": {100 * point.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]") for tip in tips)


def test_confusions_are_the_counts_of_the_file(folder):
    write_run(folder)
    page = page_of(folder)
    matrices = re.findall(r'<table class="matrix">.*?</table>', (folder / "report.html").read_text(), re.DOTALL)
    counts = [re.findall(r"<td[^>]*>(\d*)</td>", matrix) for matrix in matrices]
    assert counts == [["4267", "733", "733", "4267"], ["2658", "2342", "2342", "2658"]]
    assert "Most frequent mistakes: cat → a|b (733), a|b → cat (733)." in page.text


def test_many_classes_are_an_image_and_a_list(folder):
    names = [{"class": f"c{k}", "n": 2, "clean_acc": 0.5, "robust_acc": 0.5} for k in range(100)]
    record = write_run(folder, per_class=names, shown=False)
    write_shown(RecordFiles(folder / "evaluation.json").shown, shown_of(record, classes=100))
    page = page_of(folder)
    assert '<table class="matrix">' not in (folder / "report.html").read_text()
    assert [one["alt"] for one in page.all_of("img") if "matrix" in one["class"]] == 2 * [
        "100 classes; the most frequent mistakes are listed below"
    ]
    assert "c0 → c1 (15), c1 → c2 (15)" in page.text


def decoded(address):
    image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    return np.asarray(image)


def test_the_gallery_shows_pixels_answers_and_what_was_added(folder):
    """Of each image the pixels of the file, exactly; grey where nothing was added, white and black at the most."""
    write_run(folder)
    page, shown = page_of(folder), read_shown(RecordFiles(folder / "evaluation.json").shown)
    images = [decoded(one["src"]) for one in page.all_of("img") if one["class"] == "pixels" and "class" in one]
    assert len(images) == 3 * len(shown.y) + 2  # and two pictures of the diagnosis
    for k, (clean, attacked) in enumerate(zip(shown.clean, shown.attacked, strict=True)):
        assert np.array_equal(images[3 * k], clean[0])
        assert np.array_equal(images[3 * k + 1], np.round(attacked[0] * 255))
        assert set(images[3 * k + 2].flat) == {0, 255}
    assert "cat broken cat, 90 % a|b, 90 % added" in page.text  # before the attack, and after it
    assert "cat not broken cat, 90 % cat, 90 % added" in page.text
    assert re.findall(r"(not broken|broken) (?:cat|a.b), 90", page.text) == 2 * ["broken"] + 2 * ["not broken"]
    assert "magnified 15.9 times" in page.text  # 0.5 / (8 / 255)


def test_learning_curves_are_means_over_epochs(folder):
    write_run(folder)
    tips = [one["data-tip"] for one in page_of(folder).all_of("rect")]
    assert tips[0] == "epoch 0: clean 10, robust 5, training images, attacked 40"
    assert "epoch 2: training 5, validation 2.5" in tips  # 6 and 4
    assert "epoch 3: learning rate 0.1" in tips
    assert f"selected: {read_record(folder / 'evaluation.json').training.epoch}" in page_of(folder).text


@pytest.mark.parametrize("rows", [("0,0,-1e308", "1,1,1e308"), ("0,0,1e308", "1,1,1e308"), ("0,1e308,3", "1,1e308,3")])
def test_numbers_without_a_difference_are_drawn_at_the_ends(rows, folder):
    write_run(folder)
    (folder / "metrics.csv").write_text("\n".join(["step,epoch,train/loss", *rows, ""]))
    page = page_of(folder)
    tips = [one["data-tip"] for one in page.all_of("rect")]
    assert any(f"training {float(rows[0].split(',')[2]):.3g}" in tip for tip in tips)
    assert "nan" not in "".join(one["d"] for one in page.all_of("path") if "d" in one)


def test_a_diagnosis_is_shown_whatever_it_holds(folder):
    write_run(folder)
    page = page_of(folder)
    assert [row[:3] for row in as_text(page.table("anything"))[1:]] == [
        ["looked at", "median", "0.25"],
        ["looked at", "robust accuracy", "0.6123"],
        ["looked at", "agreement, attacked", "0.7891"],
    ]
    assert as_text(page.table("looked at by layer")) == [
        ["Layer", "rank", "norm", "match, attacked"],
        ["stem", "2", "–", "–"],
        ["head", "3", "4", "0.7373"],
    ]
    assert "It tells what it tells. It cannot say what it cannot. arXiv:0000.00000; 10000 images" in page.text
    assert "steps 3, how at random; 1.5 s" in page.text
    assert "a line" in page.text
    assert "a plane loss: 1 (dark) to 3 (bright)" in page.text
    assert [one["alt"] for one in page.all_of("img")][-2:] == ["cat", "dog"]
    assert len(page.all_of("image")) == 1
    assert "Not measured: left_out (on demand)." in page.text


def as_text(rows):
    return [[text for text, _ in row] for row in rows]


ABSENT = {
    "evaluation.json": "Nothing has been evaluated",
    "metrics.csv": "No learning curves: metrics.csv is not here",
    "evaluation.shown.safetensors": "No confusion of classes and no images: evaluation.shown.safetensors is not here",
    "diagnosis.json": "No diagnosis: diagnosis.json is not here",
    "config.yaml": "No configuration: config.yaml is not here",
}


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_not_there_is_left_out_and_said(name, folder):
    write_run(folder)
    assert ABSENT[name] not in page_of(folder).text
    (folder / name).unlink()
    assert ABSENT[name] in page_of(folder).text


DAMAGED = {
    "metrics.csv": "Left out: {}/metrics.csv is damaged",
    "evaluation.shown.safetensors": "Left out: {}/evaluation.shown.safetensors (",
    "diagnosis.json": "Left out: {}/diagnosis.json is damaged",
    "diagnosis.pictures.safetensors": "diagnosis.pictures.safetensors is damaged",
    "summary.json": "summary.json is damaged",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_left_out_and_said(name, folder):
    write_run(folder, summary={"stopped": None})
    (folder / name).write_bytes(b'"a\x00' + (folder / name).read_bytes()[3:-1])
    assert DAMAGED[name].format(folder) in page_of(folder).text


def test_files_of_other_weights_are_not_shown_beside_a_record(folder):
    record = write_run(folder)
    other = full_record(weights={"path": "x", "sha256": "b" * 64})
    write_diagnosis(diagnosis_of(folder / "evaluation.json"), diagnosis_for(other))
    write_shown(RecordFiles(folder / "evaluation.json").shown, shown_of(other))
    (folder / "student.safetensors").write_bytes(b"others")
    text = page_of(folder).text
    assert "No diagnosis: diagnosis.json is of other weights than the record." in text
    assert "evaluation.shown.safetensors is of another evaluation." in text
    assert "The record is of other weights than those beside it: evaluate these." in text
    assert record.weights.sha256 == "a" * 64


def test_a_picture_whose_numbers_do_not_belong_together_is_left_out_and_said(folder):
    record = write_run(folder)
    diagnosis = diagnosis_for(record)
    path = diagnosis_of(folder / "evaluation.json")
    write_diagnosis(path, diagnosis)
    tree = json.loads(path.read_text())
    tree["results"][0]["planes"]["a plane"]["values"] = [[1.0, 2.0]]
    tree["results"][0]["curves"]["a line"]["lines"]["clean"] = [1.0]
    write_diagnosis(path, rebuilt(tree))
    text = page_of(folder).text
    assert "the picture a plane is damaged" in text
    assert "the picture a line is damaged" in text


def rebuilt(tree):
    from ard.artifacts.diagnosis import Diagnosis
    from ard.artifacts.typed_json import from_tree

    return from_tree(Diagnosis, tree)


def test_an_unreliable_record_shows_no_robust_number(folder):
    """In `unreliable` no two robust numbers are alike; those of training, images and diagnosis go, too."""
    record = write_run(folder, unreliable())
    page = page_of(folder)
    html = (folder / "report.html").read_text()
    robust = [0.5671, 0.5553, 0.5349, 0.5342, 0.5317, 0.2119, 0.7723, 0.3129, 0.7505, 0.79, 0.6123, 0.7891, 0.7373]
    assert [number for number in robust if f"{100 * number:.1f}" in page.text or f"{number}" in html] == []
    assert record.explained_warning in page.text
    assert "epoch 0: clean 10" in html
    assert "robust 5" not in html
    assert page.text.count("clean robust") == 0, "the legend of a line of the diagnosis"
    assert "numbers, lines and planes of attacked images are left out" in page.text
    assert "The confusion of attacked images is left out: UNRELIABLE (O6, O10)." in page.text
    assert html.count('<table class="matrix">') == 1


def test_what_files_say_is_text(folder):
    """Names of classes, checks, methods, columns and diagnostics that would be code in a browser."""
    classes = [{"class": name, "n": 5000, "clean_acc": 0.9, "robust_acc": 0.6} for name in (EVIL, "dog")]
    record = full_record(per_class=classes, checks=(check("V1", "warn", 1, 2, EVIL),), notes=(EVIL,), device=EVIL)
    write_run(
        folder, record, summary={"run": {"method": EVIL, EVIL: EVIL}, "stopped": EVIL, "warnings": [EVIL]}, diagnosis=False
    )
    write_diagnosis(diagnosis_of(folder / "evaluation.json"), diagnosis_for(record, name=EVIL))
    (folder / "config.yaml").write_text(EVIL)
    harmless(page_of(folder))
    assert page_of(folder).text.count("<script>alert(1)</script>") >= 12


def harmless(page):
    """Its own script and no other, no handler in an attribute, no address but its own and those of its images."""
    assert len(page.all_of("script")) == 1
    assert [(tag, name) for tag, of in page.tags for name in of if name.startswith("on")] == []
    addresses = [of[name] for _, of in page.tags for name in ("src", "href", "action", "srcset", "xlink:href") if name in of]
    assert [address for address in addresses if not re.match(r"data:image/png;base64,|#|[\w./%-]+\.html$", address)] == []
    assert {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "base", "form", "link"} == set()
    (policy,) = [of["content"] for of in page.all_of("meta") if of.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


STRANGE = [
    {"run": {"eps": 1e308, "seed": []}},
    {"run": 3, "best": [1], "warnings": {"a": 1}},
    {"seconds": 1e308},
    {"seconds": 10**400},
    {"stopped": 7},
]


@pytest.mark.parametrize("summary", STRANGE, ids=lambda summary: str(summary)[:40])
def test_a_summary_of_strange_values_is_no_error(summary, folder):
    """It has no schema: whatever stands in it, a page is made."""
    write_run(folder, summary=summary, training=None, shown=False, diagnosis=False)
    assert "robust accuracy 53.2 %" in page_of(folder).text


def test_a_run_that_nobody_evaluated_has_a_page(folder):
    folder.mkdir(parents=True)
    write_metrics(folder)
    page = page_of(folder)
    assert "Nothing has been evaluated: no evaluation.json, which ard evaluate writes." in page.text
    assert "Learning curves" in page.text


def test_a_record_of_weights_that_no_run_is_known_of_has_a_page(tmp_path):
    write(tmp_path / "foreign" / "other.evaluation.json", np.arange(50) < 40, np.arange(50) < 20, training=None)
    page = page_of(tmp_path / "foreign")
    assert "robust accuracy 40.0 %" in page.text
    assert "<h1>foreign</h1>" in (tmp_path / "foreign/report.html").read_text()


def test_the_same_files_make_the_same_page(folder):
    write_run(folder)
    page_of(folder)
    before = (folder / "report.html").read_bytes()
    page_of(folder)
    assert (folder / "report.html").read_bytes() == before


REFUSED = {
    "nowhere": "nowhere is not there; expected the folder of a run or of a study",
    "a.txt": "a.txt is a file; expected the folder of a run or of a study",
    "empty": "empty: nothing to show",
    "damaged": "damaged/evaluation.json is damaged",
}


@pytest.mark.parametrize("name", REFUSED)
def test_without_anything_to_show_there_is_one_line_and_no_page(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "damaged")
    (tmp_path / "damaged/evaluation.json").write_text("{")
    before = files_below(tmp_path)
    status, out, err = cli(capsys, "report", name)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert REFUSED[name] in err
    assert files_below(tmp_path) == before


def test_a_page_that_cannot_be_written_is_one_line(folder, capsys):
    write_run(folder)
    (folder / "report.html").mkdir()
    status, _, err = cli(capsys, "report", folder)
    assert (status, err.count("\n")) == (2, 1)
    assert "report.html: cannot be written" in err


def test_torch_is_not_imported(folder):
    write_run(folder)
    code = "import sys, ard.__main__ as m; print(m.main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "report", str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}/report.html\n0 False\n"


def test_a_record_is_read_before_anything_is_written(folder):
    write_run(folder)
    record = read_record(folder / "evaluation.json")
    write_record(folder / "last.evaluation.json", record)
    (folder / "last.evaluation.json").write_text("{}")
    with user_error("last.evaluation.json"):
        write_pages(folder)
    assert not (folder / "report.html").exists()
    assert pictures_of(diagnosis_of(folder / "evaluation.json")).is_file()
