"""Configs that are no recipes: bases, schedules, teachers."""

from image_files import image_folder
from shipped_recipes import DIGITS, RECIPES, content, parts, resolved
from test_recipes import AUGMENTATIONS, BASES, PGD_AT, SCHEDULES, TEACHERS, each
from tiny import user_error

from ard.__main__ import main
from ard.cli.lightning import resolve_config
from ard.training.config_digest import as_before


@each("base", BASES)
def test_a_base_names_no_method(base):
    assert "data" in content(base)
    assert set(parts(base)) & {"objective", "teacher", "replays", "attack_mode", "init"} == set()
    assert {"threat", "attack", "val_attack", "student", "training"} <= set(parts(base))


@each("base", BASES)
def test_a_base_parses(base, tmp_path):
    inside = "base.init_args." if "base" in content(base)["data"].get("init_args", {}) else ""
    images = f"--data.init_args.{inside}root={image_folder(tmp_path / 'images')}"
    root = [] if base.stem.startswith("digits") else [images]
    there = ["--model.student.network.pretrained=false"] if base.stem == "photos" else []  # nothing is downloaded here
    found = resolve_config(["fit", "-c", str(base), "-c", str(PGD_AT), *root, *there])
    assert found["data"]["class_path"] == content(base)["data"]["class_path"]
    eps = [threat["init_args"]["eps"] for threat in (found["model"]["init_args"]["threat"], parts(base)["threat"])]
    assert eps[0] == str(eps[1])


@each("schedule", SCHEDULES)
def test_a_schedule_sets_the_schedule_alone(schedule):
    written = content(schedule)
    assert set(written) == {"trainer", "model"}
    assert set(written["trainer"]) == {"max_epochs"}
    assert set(parts(schedule)) == {"training"}
    found = resolved(*(word for path in (DIGITS, PGD_AT, schedule) for word in ("-c", str(path))))
    assert found["trainer"]["max_epochs"] == written["trainer"]["max_epochs"]
    training = found["model"]["init_args"]["training"]
    said = as_before("training", parts(schedule)["training"])
    assert within(said, training) == said
    assert training["monitor"] == "val/robust_acc"


@each("augmentation", AUGMENTATIONS)
def test_an_augmentation_sets_switches_of_the_data_alone(augmentation):
    written = content(augmentation)
    assert set(written) == {"data"}
    assert set(written["data"]) == {"init_args"}
    cifar = str(DIGITS.with_name("cifar10.yaml"))
    found = resolved(*(word for path in (cifar, PGD_AT, augmentation) for word in ("-c", str(path))))["data"]
    assert found["class_path"] == "ard.data.CIFAR10"
    assert written["data"]["init_args"].items() <= found["init_args"].items()
    assert found["init_args"]["val_size"] == 1000


def within(said, found):
    """What `found` has in the places of `said`."""
    return {key: within(value, found[key]) if isinstance(value, dict) else found[key] for key, value in said.items()}


@each("teacher", [path for path in TEACHERS if path.stem.startswith("digits")])
def test_a_teacher_of_digits_trains_one_step(teacher, fit, tmp_path):
    tiny = ["--model.init_args.student.init_args.width=8", "--model.init_args.student.init_args.blocks=[1]"]
    engine = fit(tmp_path, f"../teachers/{teacher.stem}", *tiny, student=[]).model
    assert engine.trainer.global_step == 2
    assert type(engine.student).__name__ == parts(teacher)["student"]["class_path"].rpartition(".")[2]


@each("recipe", RECIPES[:1] + SCHEDULES[:1] + AUGMENTATIONS[:1])
def test_a_recipe_before_its_base_is_refused(recipe, capsys):
    words = ["fit", "-c", str(recipe), "-c", str(DIGITS)]
    with user_error("expected the base"):
        resolve_config(words)
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
