"""The pages in a real browser: sorting, pointing, keys, both widths and both schemes, and that nothing leaves the page."""

from urllib.parse import unquote

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from pages import diagnosis_for, shown_of, write_metrics, write_run
from small_records import check, checks, drawn, first, write, write_study

from ard.artifacts.diagnosis import diagnosis_of, write_diagnosis
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import read_record
from ard.artifacts.shown import write_shown
from ard.report.page.writing import write_pages

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

NUMBERS = "[...document.querySelectorAll('#table tbody tr')].map(row => row.cells[{}].dataset.sort ?? null)"
CONTRAST = """
(names => {
  const style = getComputedStyle(document.body);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  const light = colour => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(style.backgroundColor);
  return Object.fromEntries(names.map(name => {
    const ink = light(style.getPropertyValue("--" + name));
    return [name, (Math.max(paper, ink) + 0.05) / (Math.min(paper, ink) + 0.05)];
  }));
})(%s)
"""


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three students, one of them unreliable, with curves and diagnoses; and the full page of a run."""
    root = write_study(tmp_path_factory.mktemp("studies") / "digits")
    failing = checks(V4="fail")
    write(root / "masked/seed0/evaluation.json", first(0.9), first(0.876), verdict="unreliable", checks=failing)
    write(root / "a rather long name of a method/seed0/evaluation.json", drawn(0.93, 1), drawn(0.03, 2))
    for run in ("ard/seed0", "pgd_at/seed0"):
        write_metrics(root / run)
        path = root / run / "evaluation.json"
        write_diagnosis(diagnosis_of(path), diagnosis_for(read_record(path)))
    write_pages(root)
    return root


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A run with names that no line has room for, and a long reason why a file is left out."""
    name = "a_name_without_a_space_" * 5
    folder = tmp_path_factory.mktemp("runs") / name
    classes = [{"class": name, "n": 1000, "clean_acc": 0.8, "robust_acc": 0.5} for _ in range(10)]
    record = write_run(folder, per_class=classes, checks=(check("V1", "warn", 1, 2, name),), shown=False)
    write_shown(RecordFiles(folder / "evaluation.json").shown, shown_of(record, classes=10))
    (folder / "diagnosis.json").write_text(name)
    write_pages(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ard"
    record = write_run(folder, summary={"run": {"method": "ard", "teacher": "a/long/path/of/a/teacher/" + 8 * "weights"}})
    write_shown(RecordFiles(folder / "evaluation.json").shown, shown_of(record, count=6, shape=(3, 32, 32)))
    write_pages(folder)
    return folder


def test_a_click_on_a_header_sorts_and_so_does_the_enter_key(browser, study):
    """Numbers as numbers, the largest first; what has none (an unreliable row) stays last both ways."""
    browser.open(study / "report.html")
    worst = browser.do("[...document.querySelectorAll('#table th button')].findIndex(b => b.textContent === 'Worst')")
    head = f"#table th:nth-child({worst + 1})"
    for press, order, sign in (
        (lambda: browser.click(f"{head} button"), "descending", -1),
        (lambda: browser.press("Enter"), "ascending", 1),  # the button has the focus
    ):
        press()
        numbers = browser.do(NUMBERS.format(worst))
        assert numbers[-1] is None
        values = [float(number) for number in numbers[:-1]]
        assert values == sorted(values, key=lambda value: sign * value)
        assert len(set(values)) > 3
        assert browser.do(f"document.querySelector('{head}').getAttribute('aria-sort')") == order
    browser.click("#table th:first-child button")
    names = browser.do(NUMBERS.format(0))
    assert names == sorted(names, key=str.lower)
    assert browser.do("document.querySelectorAll('#table [aria-sort=none]').length") == browser.do(
        "document.querySelectorAll('#table th[aria-sort]').length - 1"
    )


def test_pointing_at_a_mark_names_its_row_and_lights_it_up_everywhere(browser, study):
    browser.open(study / "report.html")
    assert browser.do("tip.hidden")
    browser.point("#pictures figure:first-of-type g[data-tip^='pgd_at:'] .mark")
    shown = browser.do("tip.textContent")
    assert shown.startswith("pgd_at: clean 95.0 % [")
    assert browser.do("getComputedStyle(tip).display") == "block"
    lit = "[...document.querySelectorAll('.on')].map(one => one.dataset.tip ?? one.textContent)"
    assert {text.partition(":")[0].partition(",")[0].strip() for text in browser.do(lit)} == {"pgd_at"}
    assert browser.do("new Set([...document.querySelectorAll('.on')].map(one => one.closest('section').id)).size") == 2
    browser.point("h1")
    assert browser.do("tip.hidden && !document.querySelector('.on')")


def test_arrow_keys_go_from_mark_to_mark(browser, study):
    browser.open(study / "report.html")
    browser.do("document.querySelector('#pictures svg[tabindex]').focus()")
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.press(key)
        told.append(browser.do("tip.hidden ? '' : tip.textContent"))
    assert told[0] == told[2] != told[1]
    assert all(": clean " in text for text in told)
    browser.press("Escape")
    assert browser.do("tip.hidden")


def test_last_checkpoints_can_be_put_away(browser, study):
    """In the table and in the pictures."""
    browser.open(study / "report.html")
    shown = "[...document.querySelectorAll('.last')].filter(one => getComputedStyle(one).display !== 'none').length"
    assert browser.do(shown) == 4
    browser.click("#last")
    assert browser.do(shown) == 0


def test_no_error_and_no_request_but_the_page_itself(browser, study, run):
    for page in (study / "report.html", run / "report.html"):
        browser.open(page)
        outside = [address for address in browser.asked if not address.startswith("data:image/png;base64,")]
        assert [unquote(address) for address in outside] == [f"file://{page}"]
        assert browser.said == []
        assert browser.do("[...document.images].every(one => one.naturalWidth > 0)")


def test_the_page_may_ask_for_nothing_and_run_nothing_else(browser, run):
    """Its policy holds even where markup came in: a script, an image and a request of another are blocked."""
    browser.open(run / "report.html")
    browser.do(
        """new Promise(done => {
          window.blocked = [];
          document.addEventListener("securitypolicyviolation", event => blocked.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          const image = document.createElement("img");
          image.src = "http://127.0.0.1:9/x.png";
          image.setAttribute("onerror", "window.ran = true");
          document.body.append(script, image);
          fetch("http://127.0.0.1:9/").catch(() => setTimeout(done, 50));
        })"""
    )
    assert browser.do("window.ran") is None
    assert {"script-src-elem", "img-src", "connect-src", "script-src-attr"} <= set(browser.do("window.blocked"))


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(width, browser, study, run, damaged):
    """What is wider scrolls in a frame of its own; text in pictures stays readable."""
    for page in (folder / "report.html" for folder in (study, run, damaged)):
        browser.open(page, width=width)
        assert browser.do("document.documentElement.scrollWidth") <= width
        scales = "[...document.querySelectorAll('.chart > svg')].map(one => one.clientWidth / one.viewBox.baseVal.width)"
        assert all(0.93 <= scale < 1.7 for scale in browser.do(scales))  # letters of 10.5 pixels


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_can_be_told_from_the_paper(dark, browser, study):
    """WCAG 2: 4.5 for text, 3 for what is drawn; and the paper is that of the scheme."""
    browser.open(study / "report.html", dark=dark)
    texts, tones = ["ink", "quiet", "link", "pass", "warn", "fail"], [f"t{k}" for k in range(7)]
    contrast = browser.do(CONTRAST % [*texts, *tones])
    assert min(contrast[name] for name in texts) >= 4.5, contrast
    assert min(contrast[name] for name in tones) >= 3, contrast
    pixels = np.frombuffer(
        bytes(browser.do("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")), np.uint8
    )
    assert (pixels.mean() < 60) == dark


def test_a_screen_reader_is_told_what_is_there(browser, study, run):
    browser.open(study / "report.html")
    told = browser.tree()
    names = {
        role: [name for of, name in told if of == role] for role in ("table", "button", "img", "image", "link", "heading")
    }
    assert all(name.strip() for of in names.values() for name in of), names
    caption = "Accuracies in percent, mean over all runs, with 95 % intervals over images (Wilson)"
    assert caption in names["table"]
    assert any(name.startswith("Clean and worst-case accuracy.") for name in names["image"] + names["img"])
    browser.open(run / "report.html")
    assert browser.do("[...document.images].every(one => one.alt)")
    assert browser.do("[...document.querySelectorAll('th')].every(one => one.scope)")


def test_it_prints(browser, run):
    """Light, with everything unfolded and without what only works on a screen."""
    browser.open(run / "report.html", dark=True)
    assert browser.printed().startswith(b"%PDF")
    assert browser.do("[...document.querySelectorAll('details')].every(one => one.open)")
