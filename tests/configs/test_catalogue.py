"""Which file a name means, from a folder in which there is nothing."""

import pytest
from small_runs import ROOT
from tiny import user_error

from ard.cli.config_option import with_files
from ard.configs.catalogue import KINDS, PUBLISHED, about, find, names, root, short_config_path
from ard.core.text import first_sentence

FILES = sorted(file.relative_to(root()) for file in root().rglob("*.yaml") if file != root() / PUBLISHED)
KIND = {folder: kind for kind, folder in KINDS.items()}


@pytest.fixture(autouse=True)
def _empty(place):
    """An empty current folder."""


def test_the_kinds_have_every_file_and_the_repository_is_the_source():
    assert sum(len(names(kind)) for kind in KINDS) == len(FILES)
    assert root() == ROOT / "configs"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_config_is_found_by_name_by_kind_and_by_path(file):
    kind = KIND[str(file.parent).strip(".")]
    for name in (file.stem, f"{kind}/{file.stem}", f"configs/{file}", f"./configs/{file}", root() / file):
        assert find(name, kind) == root() / file
    assert find(f"configs/{file}") == root() / file == find(short_config_path(root() / file))
    assert short_config_path(root() / file) == f"configs/{file}"
    assert about(root() / file)


def test_the_published_numbers_are_no_config():
    assert (root() / PUBLISHED).is_file()
    with user_error("published: no such config file"):
        find("published")


def test_a_file_of_ones_own_comes_before_ours(place):
    for folder in (place, place / "configs" / "methods"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rslad.yaml").write_text("a: 1")
    assert find("rslad", "methods").samefile(place / "rslad.yaml")
    assert find("configs/methods/rslad.yaml").samefile(place / "configs/methods/rslad.yaml")
    ours = find("methods/rslad")
    assert ours == root() / "methods/rslad.yaml"
    assert find(short_config_path(ours)) == ours  # although the short path is another file here


@pytest.mark.parametrize(
    ("name", "kinds", "message"),
    [
        ("rslad", (), "rslad is 2 things: methods/rslad and schedules/rslad; expected one of these"),
        ("digits", (), "digits is 2 things: bases/digits and studies/digits; expected one of these"),
        ("rsald", ("methods",), "rsald: no such method; did you mean 'rslad'?"),
        ("digit", ("studies",), "digit: no such study; did you mean 'digits'?"),
        ("methods/rsald", (), "methods/rsald: no such config file; did you mean 'methods/rslad'?"),
        ("one_cycle", ("methods",), "one_cycle: no such method; `ard list methods` shows them"),
        ("configs/methods/rsald.yaml", (), "configs/methods/rsald.yaml: no such config file; did you mean '{}'?"),
        ("digits.yaml", (), "digits.yaml: no such config file; did you mean 'configs/digits.yaml'?"),
        ("mine.yml", (), "mine.yml: no such config file; did you mean 'mine.yaml'?"),
        ("configs/../ard/__init__.py", (), "configs/../ard/__init__.py: no such config file; `ard list` shows them"),
        ("configs", ("studies",), "configs: no such study"),
        ("", ("studies",), "'': no such study; `ard list studies` shows them"),
        ("a" * 300, (), "a" * 300 + ": no such config file; `ard list` shows them"),
    ],
)
def test_a_name_that_means_nothing_or_two_things(name, kinds, message, place):
    (place / "mine.yaml").touch()
    with user_error("^" + message.format("configs/methods/rslad.yaml").translate({ord(c): f"\\{c}" for c in "?.()"})):
        find(name, *kinds)


def test_the_words_of_a_run_name_files_that_can_be_opened():
    words = ["fit", "-c", "digits", "-c", "pgd_at", "-c", "schedules/rslad", "--trainer.max_epochs=3"]
    changed = with_files(words)
    opened = [str(root() / name) for name in ("digits.yaml", "methods/pgd_at.yaml", "schedules/rslad.yaml")]
    assert changed == ["fit", "-c", opened[0], "-c", opened[1], "-c", opened[2], words[-1]]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("KD, Hinton et al. 2015, from a\nrobust teacher. More.", "KD, Hinton et al. 2015, from a robust teacher."),
        ("Why so low? Here", "Why so low?"),
        ("α is 1. α = 2", "α is 1."),
        ("one.\ninner: KL", "one."),
        ("no stop at\nall", "no stop at all"),
        ("", ""),
    ],
)
def test_first_sentence(text, first):
    assert first_sentence(text) == first
