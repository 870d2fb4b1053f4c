"""docs/faults.md has a row for every case, and every case has a test."""

import re
from pathlib import Path
from xml.etree import ElementTree

from fault_cases import CASES
from faults import PAGE, page

TESTS = Path(__file__).parent


def marked():
    """The cases that tests are marked with."""
    marks = [mark for file in TESTS.rglob("test_*.py") for mark in re.findall(r"mark\.fault\(([\d, ]+)\)", file.read_text())]
    return {int(number) for mark in marks for number in mark.split(",")}


def test_every_case_has_a_test():
    assert marked() == set(CASES)


def test_the_page_shows_every_case_and_none_that_failed():
    rows = {int(line.split("|")[1]): line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)}
    assert {number: line.split(" | ")[1:3] for number, line in rows.items()} == {n: list(c) for n, c in CASES.items()}
    assert [line for line in rows.values() if "**failed**" in line or "no test" in line] == []


def test_a_failed_test_shows_on_the_page():
    xml = """<suite><testcase name="a"><properties><property name="fault" value="3"/>
    <property name="observed" value="fine"/></properties></testcase>
    <testcase name="b"><properties><property name="fault" value="3"/></properties><failure/></testcase></suite>"""
    assert "| fine<br>**failed** |" in page(list(ElementTree.fromstring(xml).iter("testcase")))
    assert "1 of 2 tests passed over 1 cases" in page(list(ElementTree.fromstring(xml).iter("testcase")))
