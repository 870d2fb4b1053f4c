"""ard.report.published: numbers have sources, stand beside ours only where both are of one thing, and are met or not."""

import csv
import inspect
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import method_table
import pytest
import yaml
from small_records import TRAINING, attack, cells, dataset, first, write
from small_runs import ROOT

import ard
import ard.models
from ard.artifacts.facts import NetworkSpec, Pruned, Recipe, Threat
from ard.commands.compare import compare_runs
from ard.configs.catalogue import root
from ard.report.comparison import compare_records
from ard.report.grouping import group, load_records
from ard.report.published import Match, entries, entry_of, matches, met

RECIPES = sorted((ROOT / "configs" / "methods").glob("*.yaml"))
KNOWN = entries()
NETWORKS = KNOWN[0].networks
AROUND = {"base": {"class_path": "ard.data.CIFAR10"}}  # with wrong labels, or more images
ARD = {"clean": 82.63, "PGD-20": 50.42}
NET = {"class_path": "ard.models.MobileNetV2", "init_args": {"width": 1.0, "in_channels": 3, "stem_stride": 1}}
TEACHER = NetworkSpec(class_path="ard.models.WideResNet", init_args={"depth": 34, "widen": 10})


def entry(**said: Any) -> Any:
    """One of PGD-AT that says 80 / 45 / 40."""
    accuracy = {"clean": 80.0, "PGD-20": 45.0, "AA": 40.0}
    about = {"source": "a paper", "recipes": ["pgd_at"], "data": "CIFAR-10", "student": "MobileNetV2", "accuracy": accuracy}
    return entry_of({**about, **said}, networks=NETWORKS, tolerance=0.5)


def recipe_of(method: str, **changes: Any) -> Recipe:
    """As a run of the recipe has it."""
    file = ROOT / "configs/methods" / f"{method}.yaml"
    objective = (
        yaml.safe_load(file.read_text())["model"]["init_args"]["objective"] if file.is_file() else {"class_path": "x"}
    )
    return Recipe(
        engine="ard.Distillation",
        class_path=objective["class_path"],
        init_args={**objective.get("init_args", {}), **changes},
    )


def ours(
    folder: Path, clean: float = 0.8, pgd: float = 0.45, aa: float | None = 0.4, n: int = 10000, **changes: Any
) -> None:
    """A record of PGD-AT on CIFAR-10, or of what `changes` say."""
    path = changes.pop("path", "cifar/pgd_at/seed0/evaluation.json")
    about = {
        "recipe": recipe_of(Path(path).parts[1]),
        "model": NET,
        "dataset": dataset("CIFAR-10"),
        "threat": Threat(norm="Linf", eps=8 / 255),
        "attacks": (attack("PGD-20", pgd), *([] if aa is None else [attack("Square", aa, group="AutoAttack")])),
        "autoattack_acc": aa,
    }
    write(folder / path, first(clean, n), first(pgd if aa is None else aa, n), **{**about, **changes})


def pairs(folder: Path, *known: Any) -> list[Match]:
    return matches(group(load_records([folder])), known)


def any_met(folder: Path, known: Any) -> bool:
    rows = group(load_records([folder]))
    return bool(met(matches(rows, [known]), rows))


def said(folder: Path, known: Any) -> str:
    return compare_records([folder], folder / "out", published=known)


def published_cells(text: str, method: str) -> dict[str, str]:
    return cells(text[: text.index("Published accuracy and ours")][text.index("\n\n| Method | ") + 2 :], method)


@pytest.mark.parametrize("number", KNOWN, ids=lambda one: f"{one.recipes[0]}, {one.source[:20]}")
def test_every_number_has_a_source_and_is_of_a_recipe_and_of_a_network(number: Any) -> None:
    assert re.search(
        r"arXiv:\d{4}\.\d{5}|\b20\d\d\b|RobustBench|repository|FastAT_Benchmark|DAT \(read second-hand\)", number.source
    )
    assert set(number.recipes) <= {path.stem for path in RECIPES}
    assert number.student in NETWORKS
    assert number.data in ("CIFAR-10", "CIFAR-100", "ImageNet")
    assert number.checkpoint in ("best", "last")
    assert number.accuracy
    assert all(re.fullmatch(r"clean|AA|CW(-\d+)?|PGD-\d+(-\d+)?", name) for name in number.accuracy)
    assert all(0 <= value < 1 for values in number.accuracy.values() for value in values)
    assert all(not number.spread or number.seeds for name in number.spread)
    assert set(number.spread) <= set(number.accuracy)
    clean = number.accuracy.get("clean")
    assert clean is None or all(max(values) <= max(clean) for values in number.accuracy.values())


def test_a_number_has_a_teacher_where_its_recipes_have_one() -> None:
    with_teacher = {path.stem for path in RECIPES if re.search(r"^# ard fit .*--teacher", path.read_text(), re.MULTILINE)}
    for number in KNOWN:
        assert {name in with_teacher for name in number.recipes} == {number.teacher is not None}, number.words


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_head_names_the_file_where_that_has_its_recipe_and_repeats_no_number(recipe: Path) -> None:
    text = recipe.read_text()
    names_it = "# published: configs/published.yaml" in text
    assert names_it == any(recipe.stem in number.recipes for number in KNOWN)
    assert not names_it or not re.search(r"\d\d\.\d", text[text.index("# published") : text.index("\nmodel:")])


def test_what_papers_call_a_network_is_what_ard_builds_by_that_name() -> None:
    for known in filter(None, NETWORKS.values()):
        taken = inspect.signature(getattr(ard.models, known["class"])).parameters
        assert set(known["settings"]) <= set(taken)
    for name in ("MobileNetV2", "ResNet-18", "WideResNet-34-10"):
        taken = inspect.signature(getattr(ard.models, NETWORKS[name]["class"])).parameters
        usual = {key: parameter.default for key, parameter in taken.items() if key in NETWORKS[name]["settings"]}
        assert {key: _listed(value) for key, value in usual.items()} == NETWORKS[name]["settings"]


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def test_published_ours_difference_and_standard_errors(tmp_path: Path) -> None:
    ours(tmp_path, clean=0.81, pgd=0.44, aa=0.38)
    (pair,) = pairs(tmp_path, entry())
    errors = {"clean": 0.81, "PGD-20": 0.44, "AA": 0.38}
    for name, p in errors.items():
        assert pair.gaps[name].error == pytest.approx(math.sqrt(p * (1 - p) / 10000 + 2 * 0.005**2))
    assert pair.gaps["AA"].errors == pytest.approx(-0.02 / pair.gaps["AA"].error)
    text = said(tmp_path, [entry()])
    assert published_cells(text, "pgd_at") == {
        "Method": "pgd_at",
        "Clean": "80.0, ours 81.0: +1.0 (+1.2)",
        "PGD-20": "45.0, ours 44.0: −1.0 (−1.2)",
        "AA": "40.0, ours 38.0: −2.0 (−2.3)",
        "Met": "no",
        "Published in": "a paper",
    }
    assert (tmp_path / "out/table.md").read_text() == text
    (row,) = csv.DictReader((tmp_path / "out/table.csv").read_text().splitlines())
    assert row["published in"] == "a paper"
    found = [float(row[f"AA {part}"]) for part in ("published", "difference", "standard errors")]
    assert found == pytest.approx([0.4, -0.02, pair.gaps["AA"].errors])


def test_seeds_on_either_side_take_the_place_of_the_tolerance(tmp_path: Path) -> None:
    for seed, aa in enumerate((0.39, 0.40, 0.42)):
        ours(tmp_path, aa=aa, path=f"cifar/pgd_at/seed{seed}/evaluation.json")
    own = statistics.stdev([0.39, 0.40, 0.42]) / math.sqrt(3)
    mean = (0.39 + 0.40 + 0.42) / 3
    images = mean * (1 - mean) / 10000
    listed = [40.1, 39.9, 40.3]
    for more, theirs in (
        ({"accuracy": {"AA": listed}}, statistics.stdev(listed) / 100 / math.sqrt(3)),
        ({"accuracy": {"AA": 40.1}, "seeds": 4, "spread": {"AA": 0.2}}, 0.002 / 2),
        ({"accuracy": {"AA": 40.1}, "seeds": 4}, 0.005),
    ):
        (pair,) = pairs(tmp_path, entry(**more))
        assert pair.gaps["AA"].published == pytest.approx(0.401)
        assert pair.gaps["AA"].error == pytest.approx(math.sqrt(images + own**2 + theirs**2))


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": dataset("CIFAR-10 (JPEG)")},
        {"split": "validation"},
        {"threat": Threat(norm="Linf", eps=0.031)},
        {"threat": Threat(norm="L2", eps=8 / 255)},
        {"threat": Threat(norm="Linf", eps=8 / 255, eight_bit=True)},
        {"model": {**NET, "init_args": {"width": 0.5}}},
        {"model": {**NET, "class_path": "ard.models.ResNet"}},
        {"model": {**NET, "class_path": "mine.MobileNetV2"}},
        {"path": "cifar/pgd_at/seed0/last.evaluation.json"},
        {"path": "cifar/trades/seed0/evaluation.json"},
        {"path": "cifar/pgd_at-beta-2/seed0/evaluation.json"},
        {"path": "cifar/teachers/pgd_at/evaluation.json"},
        {"pruned": Pruned(how="magnitude", keep=0.5, of="a" * 64, nonzero=1, seed=0)},
        {"training": None},
        {"recipe": None},
        {"recipe": recipe_of("trades")},
        {"training": replace(TRAINING, config={"data": {"class_path": "ard.data.KnownLabels", "init_args": AROUND}})},
        {"training": replace(TRAINING, config={"data": {"class_path": "ard.data.Mixed", "init_args": AROUND}})},
    ],
    ids=str,
)
def test_nothing_is_compared_where_one_thing_differs(tmp_path: Path, changes: dict[str, Any]) -> None:
    ours(tmp_path, **changes)
    assert pairs(tmp_path, entry()) == []
    text = said(tmp_path, [entry()])
    assert text.count("Published numbers: no row has one to be compared with.") == 1
    assert "a paper" not in text


def test_an_objective_with_other_arguments_is_not_the_papers(tmp_path: Path) -> None:
    for beta, fitting in ((6.0, True), (3.0, False)):
        ours(tmp_path / str(beta), path="cifar/trades/seed0/evaluation.json", recipe=recipe_of("trades", beta=beta))
        assert bool(pairs(tmp_path / str(beta), entry(recipes=["trades"]))) == fitting


def test_seeds_of_other_arguments_are_another_row_and_not_the_papers(tmp_path: Path) -> None:
    for seed, beta in enumerate((6.0, 3.0)):
        ours(tmp_path, path=f"cifar/trades/seed{seed}/evaluation.json", recipe=recipe_of("trades", beta=beta))
    assert [pair.row.records[0].training_seed for pair in pairs(tmp_path, entry(recipes=["trades"]))] == [0]


def test_a_recipe_in_the_current_folder_is_not_the_papers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (root() / "methods/trades.yaml").read_text()
    Path("trades.yaml").write_text(text.replace("beta: 6.0", "beta: 3.0"))
    assert Path("trades.yaml").read_text() != text
    ours(tmp_path / "runs", path="cifar/trades/seed0/evaluation.json", recipe=recipe_of("trades", beta=3.0))
    assert pairs(tmp_path / "runs", entry(recipes=["trades"])) == []


@pytest.mark.parametrize(
    ("method", "arguments", "other"),
    [
        ("liet", {"smoothing": 0.8, "strength": 200.0}, {"smoothing": 0.8}),
        ("adr", {"temperatures": [1.5, 1.0]}, {"temperatures": [1.5, 2.0]}),
        ("lbgat", {"clean_learner": {"class_path": "ard.models.resnet.ResNet", "init_args": {"width": 64}}}, {}),
        ("rslad_igdm", {}, {"base": {"class_path": "ard.objectives.rslad.RSLAD", "init_args": {"alpha": 0.5}}}),
    ],
)
def test_a_number_made_with_other_arguments_than_the_recipes_is_compared_with_those(tmp_path, method, arguments, other):
    said = {**arguments, **({"clean_learner": {"class_path": "ard.models.ResNet"}} if method == "lbgat" else {})}
    known = entry(recipes=[method], arguments=said)
    path = f"cifar/{method}/seed0/evaluation.json"
    ours(tmp_path / "theirs", path=path, recipe=recipe_of(method, **arguments))
    ours(tmp_path / "other", path=path, recipe=recipe_of(method, **other))
    assert pairs(tmp_path / "theirs", known)
    assert not pairs(tmp_path / "other", known)


@pytest.mark.parametrize("number", KNOWN, ids=lambda one: f"{one.recipes[0]}, {one.source[:20]}")
def test_arguments_of_a_number_are_arguments_of_its_recipes_and_others_than_theirs(number: Any) -> None:
    for method in number.recipes:
        shipped = recipe_of(method).init_args
        assert set(number.arguments) <= set(shipped)
        assert all(shipped[key] != value for key, value in number.arguments.items())


def test_an_attack_is_compared_with_itself_alone(tmp_path: Path) -> None:
    ours(tmp_path, aa=None)
    assert list(pairs(tmp_path, entry())[0].gaps) == ["clean", "PGD-20"]
    assert pairs(tmp_path, entry(accuracy={"clean": 80.0, "AA": 45.0})) == []
    assert pairs(tmp_path, entry(accuracy={"PGD-50": 45.0})) == []


@pytest.mark.parametrize(("average", "fitting"), [(None, False), (0.9995, True)])
def test_averaged_weights_are_compared_with_averaged_ones(tmp_path: Path, average: float | None, fitting: bool) -> None:
    ours(tmp_path, training=replace(TRAINING, block={**TRAINING.block, "average": average}))
    assert bool(pairs(tmp_path, entry(averaged=True))) == fitting
    assert bool(pairs(tmp_path, entry(averaged=False))) != fitting
    assert pairs(tmp_path, entry())


def test_a_row_without_a_number_has_a_dash_and_an_unreliable_one_no_number(tmp_path: Path) -> None:
    ours(tmp_path)
    ours(tmp_path, path="cifar/trades/seed0/evaluation.json")
    failed = {
        "verdict": "unreliable",
        "checks": [{"id": "O10", "value": 2, "threshold": 1, "verdict": "fail", "reason": "why"}],
    }
    ours(tmp_path, path="cifar/mart/seed0/evaluation.json", **failed)
    text = said(tmp_path, [entry(), entry(source="another", accuracy={"AA": 41.0}), entry(recipes=["mart"])])
    assert set(list(published_cells(text, "trades").values())[1:]) == {"–"}
    assert published_cells(text, "mart")["AA"] == "–"
    assert published_cells(text, "mart")["Published in"] == "UNRELIABLE (O10)"
    assert text.count("| pgd_at | 80.0, ours") == 1
    assert "| pgd_at | – | – | 41.0, ours 40.0: −1.0 (−1.2) | yes | another |" in text  # each source has a line


def test_a_number_is_met_by_all_of_it_on_all_images(tmp_path: Path) -> None:
    def is_met(name: str, known: Any = None, **changes: Any) -> bool:
        ours(tmp_path / name, **changes)
        return any_met(tmp_path / name, known or entry())

    assert is_met("as published")
    assert is_met("near", aa=0.385)
    assert not is_met("far", aa=0.38)
    assert not is_met("far above", aa=0.42)  # another thing was measured, or trained
    assert not is_met("clean far", clean=0.83)
    assert not is_met("few images", limit=5000)
    assert not is_met("no AutoAttack", aa=None)
    assert is_met("none published", entry(accuracy={"PGD-20": 45.0}), aa=None)
    assert not is_met("clean alone", entry(accuracy={"clean": 80.0}))
    assert not is_met("taught", teacher="f" * 64)
    for seed, aa in enumerate((0.30, 0.45)):  # far apart, so that their mean may be anything
        ours(tmp_path / "apart", aa=aa, path=f"cifar/pgd_at/seed{seed}/evaluation.json")
    assert abs(pairs(tmp_path / "apart", entry())[0].gaps["AA"].errors) < 1
    assert not any_met(tmp_path / "apart", entry())


@pytest.mark.parametrize(
    ("teacher", "reached"),
    [
        (TEACHER, True),
        (NetworkSpec(class_path="ard.models.WideResNet", init_args={"depth": 28, "widen": 10}), False),
        (NetworkSpec(class_path="ard.models.RobustBench", init_args={"name": "Zhang2019Theoretically"}), True),
        (NetworkSpec(class_path="ard.models.RobustBench", init_args={"name": "Chen2021LTD_WRN34_10"}), False),
        (None, False),
    ],
)
def test_a_distilled_number_is_met_from_such_a_teacher_alone(tmp_path: Path, teacher: Any, reached: bool) -> None:
    number = entry(recipes=["ard"], teacher="WideResNet-34-10 (TRADES; Zhang2019Theoretically)")
    ours(tmp_path, path="cifar/ard/seed0/evaluation.json", teacher="f" * 64)
    if teacher:
        weights = {"path": "student.safetensors", "sha256": "f" * 64}
        ours(tmp_path, path="cifar/teachers/robust/evaluation.json", weights=weights, model=teacher)
    assert len(pairs(tmp_path, number)) == 1
    assert published_cells(said(tmp_path, [number]), "ard")["Met"] == ("yes" if reached else "no")


def test_each_seed_of_a_distilled_number_has_such_a_teacher(tmp_path: Path) -> None:
    number = entry(recipes=["ard"], teacher="WideResNet-34-10 (TRADES; Zhang2019Theoretically)")
    other = NetworkSpec(class_path="ard.models.WideResNet", init_args={"depth": 28, "widen": 10})
    for seed, (sha256, network) in enumerate((("f" * 64, TEACHER), ("e" * 64, other))):
        ours(tmp_path, path=f"cifar/ard/seed{seed}/evaluation.json", teacher=sha256)
        weights = {"path": "student.safetensors", "sha256": sha256}
        ours(tmp_path, path=f"cifar/teachers/robust{seed}/evaluation.json", weights=weights, model=network)
    assert [len(pair.row.records) for pair in pairs(tmp_path, number)] == [2]
    assert not any_met(tmp_path, number)


@pytest.mark.parametrize(
    ("class_path", "init_args", "reached"),
    [
        ("ard.models.RobustBench", {"name": "Zhang2019Theoretically"}, True),
        ("ard.models.RobustBench", {"name": "Chen2021LTD_WRN34_10"}, False),
        ("ard.models.Frozen", {"network": {"class_path": TEACHER.class_path, "init_args": TEACHER.init_args}}, True),
        ("ard.models.Frozen", {"network": None}, False),
    ],
)
def test_a_teacher_that_has_no_record_is_known_by_the_config_of_the_run(
    tmp_path: Path, class_path: str, init_args: Any, reached: bool
) -> None:
    """One of RobustBench is never evaluated here."""
    number = entry(recipes=["ard"], teacher="WideResNet-34-10 (TRADES; Zhang2019Theoretically)")
    taught = {"model": {"init_args": {"teacher": {"class_path": class_path, "init_args": init_args}}}}
    run = {"training": replace(TRAINING, config=taught), "teacher": "f" * 64}
    ours(tmp_path, path="cifar/ard/seed0/evaluation.json", **run)
    assert len(pairs(tmp_path, number)) == 1
    assert published_cells(said(tmp_path, [number]), "ard")["Met"] == ("yes" if reached else "no")


def test_the_list_of_methods_says_verified_where_a_record_meets_a_number_of_the_file(tmp_path: Path, monkeypatch) -> None:
    assert " verified" not in method_table.methods({"pgd_at"})
    ours(tmp_path, clean=0.8248, pgd=0.5010, aa=0.4632)  # RSLAD, table 3
    ours(tmp_path, clean=0.8057, pgd=0.5106, aa=0.4000, path="cifar/trades/seed0/evaluation.json")
    monkeypatch.setattr(method_table, "RESULTS", tmp_path)
    monkeypatch.setattr(method_table, "record", lambda _: {"passes": {}, "relative_to_ard": {}})
    monkeypatch.setattr(method_table, "conditions", lambda _: "")
    states = dict(re.findall(r"\| `(\w+)`.*\| ([\w ,-]+) \|", method_table.methods({"pgd_at", "trades"})))
    assert states == {"pgd_at": "oracle-tested, verified", "trades": "oracle-tested"}


def test_the_verb_and_the_call_compare_with_the_file_that_ships(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/published.yaml").write_text("tables: 1")  # of the current folder, and not read
    ours(tmp_path / "runs", clean=0.8263, pgd=0.5042, aa=None, path="cifar/ard/seed0/evaluation.json", teacher="f" * 64)
    assert compare_runs([str(tmp_path / "runs")], published=True) == 0
    shown = capsys.readouterr().out
    assert "| ard | 82.6, ours 82.6: +0.0 (+0.0) | 50.4, ours 50.4: +0.0 (+0.0) | no | ARD, Goldblum et al." in shown
    assert ard.compare([tmp_path / "runs"], published=True).to_markdown() in shown
    assert compare_runs([str(tmp_path / "runs")]) == 0
    assert "ublished" not in capsys.readouterr().out
