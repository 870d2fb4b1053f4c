"""Options of the verbs, spelled as people spell them."""

import pytest
from small_runs import ROOT, cli
from tiny import user_error

from ard.cli.parsing import parse
from ard.commands.compare import compare_runs
from ard.commands.evaluate import evaluate_weights
from ard.commands.predict import predict_files

FIT = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml"]


@pytest.mark.parametrize("bare", ["--save-adversarial", "--save_adversarial"])
@pytest.mark.parametrize("value", ["", "=true", " true", "=True", " True", " yes"])
def test_a_flag_is_spoken_as_people_do(bare, value):
    for argv in ([*f"{bare}{value}".split(" "), "a.safetensors"], ["a.safetensors", *f"{bare}{value}".split(" ")]):
        arguments = parse("evaluate", evaluate_weights, argv)
        assert arguments["weights"] == ["a.safetensors"]
        assert arguments["request"].save_adversarial is True


def test_other_flags_too():
    for argv in (["--mixed", "a", "b"], ["--mixed", "true", "a", "b"], ["--mixed=true", "a", "b"], ["a", "b", "--mixed"]):
        arguments = parse("compare", compare_runs, argv)
        assert (arguments["directories"], arguments["mixed"]) == (["a", "b"], True)
    assert parse("compare", compare_runs, ["--mixed", "false", "a"])["mixed"] is False
    for said, meant in {"--additional-data": True, "--additional_data=false": False, "--additional-data no": False}.items():
        assert parse("evaluate", evaluate_weights, ["w", *said.split()])["request"].additional_data is meant


def test_names_may_stand_on_both_sides_of_an_option():
    for words in (
        "a b --limit 5 --replace",
        "a --limit 5 b --replace",
        "--limit=5 a --replace b",
        "--replace a --limit 5 b",
    ):
        arguments = parse("evaluate", evaluate_weights, words.split())
        assert arguments["weights"] == ["a", "b"]
        assert (arguments["request"].limit, arguments["request"].replace) == (5, True)
    after_all = parse("predict", predict_files, ["w", "--", "-x.png", "y.png"])
    assert (after_all["weights"], after_all["images"]) == ("w", ["-x.png", "y.png"])


@pytest.mark.parametrize(
    ("verb", "words"), [("evaluate", "a b --teacher"), ("compare", "d1 d2 --out"), ("evaluate", "a --suite")]
)
def test_an_option_at_the_end_that_lacks_its_value_takes_no_name(verb, words):
    with user_error("expected one argument"):
        parse(verb, {"evaluate": evaluate_weights, "compare": compare_runs}[verb], words.split())


@pytest.mark.parametrize(
    ("verb", "words", "named"),
    [
        ("evaluate", ["w", "--teacher", ""], "--teacher"),
        ("evaluate", ["w", "--transfer="], "--transfer"),
        ("evaluate", ["w", "--attacks="], "--attacks"),
        ("evaluate", [""], "''"),
        ("test", ["w", "--data="], "--data"),
        ("report", [""], "''"),
        ("predict", ["w", ""], "''"),
        ("prune", ["w", "--out", ""], "--out"),
        ("prune", ["w", "--teacher="], "--teacher"),
        ("diagnose", ["w", "--only="], "--only"),
        ("compare", [""], "''"),
        ("compare", ["w", "--out="], "--out"),
        ("verify", ["", "w"], "''"),
        ("study", [""], "''"),
        ("evaluate", ["--replace", ""], "''"),
        ("evaluate", ["--suite=quick", ""], "''"),
        ("compare", ["--last", ""], "''"),
    ],
)
def test_a_name_that_is_empty_is_no_name(verb, words, named, capsys):
    """What a shell makes of a variable that is not set."""
    status, out, err = cli(capsys, verb, *words)
    assert (status, out, err) == (2, "", f"ard: {named} names nothing: expected a value, or leave it out\n")


@pytest.mark.parametrize(
    ("verb", "said"),
    [("compare", "ard compare RUN_DIR..."), ("verify", "ard verify ADVERSARIAL WEIGHTS"), ("study", "ard study <name>")],
)
def test_what_is_missing_is_called_as_help_calls_it(verb, said, capsys):
    assert cli(capsys, verb) == (2, "", f"ard: expected {said}\n")


def test_hyphens_in_values_stay():
    request = parse("evaluate", evaluate_weights, ["my-w", "--data", "my-data.yaml", "--teacher=a-b.pt"])["request"]
    assert (request.data, request.teacher, request.additional_data) == ("my-data.yaml", "a-b.pt", None)


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ([*FIT, "--trainer.max_epoch=1"], "max_epochs"),
        ([*FIT, "--trainer.max_epoch", "1"], "max_epochs"),
        ([*FIT, "--conf", "x.yaml"], "config"),
        ([*FIT, "--model.init_args.training.milestone=[0.5]"], "milestones"),
        (["evaluate", "x.safetensors", "--suit", "quick"], "suite"),
        (["evaluate", "x.safetensors", "--save-adv"], "save_adversarial"),
        (["test", "x.safetensors", "--lim=3"], "limit"),
        (["compare", "x", "--mix"], "mixed"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else value,
)
def test_the_start_of_an_option_is_not_the_option(words, whole, capsys, monkeypatch):
    """It may be the start of another one tomorrow; the right name is told."""
    monkeypatch.chdir(ROOT)
    status, _, err = cli(capsys, *words)
    assert status == 2
    assert err.endswith(f"; did you mean '{whole}'?\n")
