"""`ard fit A B`: names become files, short options become dotted keys, and both ways of saying it mean the same run."""

import pytest
import yaml
from small_runs import ROOT, teacher_options, workplace
from tiny import user_error

from ard.cli.aliases import ALIASES
from ard.cli.refusals import check_run
from ard.cli.short_words import expanded, split_words

LONG = ["fit", "-c", "configs/cifar10.yaml", "-c", "configs/methods/rslad.yaml"]
RECIPES = sorted((ROOT / "configs/methods").glob("*.yaml"))
VALUES = {
    "teacher": ("t.safetensors", "--model.teacher.weights=t.safetensors"),
    "student": ("wide-resnet", "--model.student=ard.models.WideResNet"),
    "eps": ("4/255", "--model.threat.eps=4/255"),
    "epochs": ("3", "--trainer.max_epochs=3"),
    "lr": ("0.2", "--model.training.lr=0.2"),
    "batch_size": ("64", "--data.batch_size=64"),
    "data_dir": ("here", "--data.root=here"),
    "out": ("run", "--trainer.default_root_dir=run"),
    "seed": ("2", "--seed_everything=2"),
    "devices": ("1", "--trainer.devices=1"),
    "precision": ("32-true", "--trainer.precision=32-true"),
    "logger": ("wandb", "--trainer.logger=pytorch_lightning.loggers.WandbLogger"),
    "average": ("0.9995", "--model.training.average=0.9995"),
    "init": ("s.safetensors", "--model.init=s.safetensors"),
    "resume": ("auto", "--resume=auto"),
    "network": ("mynet.Net", '--model.teacher.network={"class_path": "mynet.Net"}'),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    return workplace(tmp_path, monkeypatch)


def short(*words):
    """The words after those of LONG's configs."""
    return expanded(["fit", "cifar10", "rslad", *words])[len(LONG) :]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_its_dotted_key(name):
    """Contract: with hyphens or underscores, by = or by the next word; what it becomes is a key of the run, and stays."""
    value, said = VALUES[name]
    for option in (f"--{name}", f"--{name.replace('_', '-')}"):
        assert short(option, value) == short(f"{option}={value}") == [said]
    words = [*LONG, said]
    assert expanded(words) == words
    check_run(words)
    assert said.partition("=")[0] == f"--{ALIASES[name].key}"


@pytest.mark.parametrize(
    "words",
    [
        ["cifar10", "rslad"],
        ["-c", "cifar10", "rslad"],
        ["cifar10", "--config=methods/rslad"],
        ["configs/cifar10.yaml", "-c", "configs/methods/rslad.yaml"],
    ],
    ids=" ".join,
)
def test_configs_by_name_or_path_alone_or_after_c(words):
    assert expanded(["fit", *words]) == LONG


def test_a_name_of_several_things_is_what_is_still_missing(place):
    schedule = "configs/schedules/rslad.yaml"
    assert expanded([*LONG, "rslad"]) == [*LONG, "-c", schedule]
    (place / "mixed.yaml").write_text("data: {class_path: ard.data.Mixed}")
    (place / "pgd_at.yaml").write_text("model: {init_args: {objective: {class_path: ard.objectives.pgd_at.PGDAT}}}")
    assert expanded(["fit", "cifar10", "mixed", "rslad"]) == [*LONG[:3], "-c", "mixed.yaml", *LONG[3:]]
    assert expanded(["fit", "cifar10", "pgd_at", "rslad"]) == [*LONG[:3], "-c", "pgd_at.yaml", "-c", schedule]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("digits fgsm_rs trades", "fgsm_rs and trades: 2 methods, which would be mixed; expected one"),
        ("digits pgd_at -c teachers/digits_resnet", "pgd_at and digits_resnet: 2 methods"),
        ("cifar100 -c digits pgd_at", "cifar100 and digits: 2 bases"),
        ("cifar10 rslad schedules/rslad schedules/adamw", "rslad and adamw: 2 schedules"),
    ],
)
def test_two_of_ours_that_set_the_same_keys_are_refused(words, told):
    with user_error(told):
        expanded(["fit", *words.split()])


def test_a_file_of_ones_own_may_change_one_of_ours(place):
    (place / "around.yaml").write_text("model: {init_args: {objective: {class_path: ard.objectives.pgd_at.PGDAT}}}")
    assert expanded(["fit", "digits", "rslad", "around"])[-4:] == ["-c", "configs/methods/rslad.yaml", "-c", "around.yaml"]


def test_one_file_of_ours_named_in_two_ways_is_one():
    words = ["fit", "cifar10", "rslad", "-c", "configs/methods/rslad.yaml", "-c", "./configs/cifar10.yaml"]
    assert expanded(words)[: len(LONG)] == LONG


@pytest.mark.parametrize("names", ["CIFAR10 RSLAD", "cifar-10 RS-LAD", "cifar_10 methods/Rslad"])
def test_names_of_ours_ignore_case_hyphens_and_underscores(names):
    assert expanded(["fit", *names.split()]) == LONG


def test_options_win_over_configs_and_the_last_over_those_before():
    words = ["fit", "--lr=1", "cifar10", "--model.training.lr", "2", "rslad", "--lr", "3"]
    assert expanded(words) == [*LONG, *(f"--model.training.lr={value}" for value in (1, 2, 3))]


def test_an_option_without_a_value_takes_no_config():
    for words in (["--resume", "cifar10", "rslad"], ["cifar10", "rslad", "--resume"], ["--resume", "auto", *LONG[1:]]):
        assert expanded(["fit", *words]) == [*LONG, "--resume=auto"]
    assert expanded(["fit", "--print_config", *LONG[1:]]) == [*LONG, "--print_config"]
    assert expanded(["fit", "--allow-changes", *LONG[1:]]) == [*LONG, "--allow_changes=true"]
    assert split_words(["--x.y-z", "-3", "--flag"]) == ([], [("x.y_z", "-3"), ("flag", None)])
    with user_error("--lr: expected a value: NUMBER"):
        short("--lr")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_teacher_goes_where_a_teacher_is_missing(recipe):
    """Contract: over every method; two teachers are named one by one, and where there is none it is refused."""
    words = ["fit", "cifar10", f"methods/{recipe.stem}"]
    places = [place.replace("init_args.", "") for place in teacher_options(yaml.safe_load(recipe.read_text()))]
    if len(places) == 1:
        assert expanded([*words, "--teacher", "t"])[5:] == [f"{places[0]}=t"]
        return
    message = " and ".join(f"{place} FILE" for place in places) or "no config names a teacher"
    with user_error(f"--teacher t: .*{message}"):
        expanded([*words, "--teacher", "t"])
    if places:
        assert expanded([*words, f"{places[1]}=n", "--teacher=t"])[5:] == [f"{places[1]}=n", f"{places[0]}=t"]


def test_teacher_replaces_the_only_one(place):
    (place / "teacher.yaml").write_text(
        "model: {init_args: {teacher: {class_path: ard.models.Frozen, init_args: {weights: old.pt}}}}"
    )
    assert expanded([*LONG, "teacher", "--teacher", "new.pt"])[-1] == "--model.teacher.weights=new.pt"
    (place / "teacher.yaml").write_text(
        "model: {init_args: {teacher: {class_path: ard.models.Ensemble, init_args: {members: [ard.models.Frozen, "
        "{class_path: ard.models.Frozen}]}}}}"
    )
    with user_error(r"model.teacher.members\[1\] is in a list, which no option can fill; name it in a config"):
        expanded([*LONG, "teacher", "--teacher", "new.pt"])


def test_options_of_images_go_to_the_data_that_have_them(place):
    (place / "mixed.yaml").write_text(
        "data: {class_path: ard.data.Mixed, init_args: {base: {class_path: ard.data.CIFAR10}}}"
    )
    assert expanded([*LONG, "mixed", "--batch-size=64", "--data-dir=here"])[-2:] == [
        "--data.base.batch_size=64",
        "--data.base.root=here",
    ]
    with user_error("--data-dir here: ard.data.Digits takes no `root`"):
        expanded(["fit", "digits", "pgd_at", "--data-dir", "here"])


def test_students_and_loggers_by_name():
    for name in ("MobileNetV2", "mobilenet_v2", "mobilenet-v2", "ard.models.MobileNetV2"):
        assert short("--student", name) == ["--model.student=ard.models.MobileNetV2"]
    assert short("--student", "my_net.Net") == ["--model.student=my_net.Net"]
    with user_error("--student mobilenet: no network of ours; did you mean 'MobileNetV2'"):
        short("--student", "mobilenet")
    (board,) = short("--logger", "tensorboard")
    assert yaml.safe_load(board.partition("=")[2])["init_args"]["save_dir"] == "checkpoints/cifar10/rslad/seed0"
    assert yaml.safe_load(short("--logger=tensorboard", "--out=run")[0].partition("=")[2])["init_args"]["save_dir"] == "run"
    assert short("--logger", "csv") == ["--trainer.logger=true"]
    with user_error("--logger tensorbord: no such logger; did you mean 'tensorboard'"):
        short("--logger", "tensorbord")


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("epoch", "epochs"),
        ("learning-rate", "lr"),
        ("max_epochs", "epochs"),
        ("batchsize", "batch_size"),
        ("gpus", "devices"),
    ],
)
def test_an_unknown_option_names_what_was_meant(option, meant):
    with user_error(f"unknown key .*; did you mean '{meant}'"):
        check_run(expanded([*LONG, f"--{option}", "1"]))
