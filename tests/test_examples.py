"""The Python that the documents and examples/ show runs: what is written there, with fewer batches and images."""

import ast
import importlib
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytorch_lightning as pl
from PIL import Image
from small_runs import trained, write_weights, write_yaml

import ard
from ard.data import Digits

ROOT = Path(__file__).parents[1]
FEW = {"limit_train_batches": 1, "limit_val_batches": 1, "enable_progress_bar": False, "enable_model_summary": False}
OPTIONS = [f"--trainer.{name}={value}" for name, value in (*FEW.items(), ("accelerator", "cpu"))]

pytestmark = [
    pytest.mark.usefixtures("short_attacks"),
    pytest.mark.filterwarnings("ignore:loaders that are not of ard.data"),
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX` has been removed"),
]


def short_trainer(max_epochs, **options):
    epochs = 8 if max_epochs % 8 == 0 else 1  # Fast-ARD counts its replays
    return pl.Trainer(**options | FEW | {"max_epochs": epochs, "accelerator": "cpu", "log_every_n_steps": 1})


def short_fit(*arguments, **options):
    return ard.fit(*arguments, **options | {"epochs": 1, "options": OPTIONS})


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("scripts/*.py"), *ROOT.glob("examples/*.py")]), ids=lambda file: file.stem
)
def test_what_scripts_and_examples_import_of_ard_is_there(file):
    """A script that nothing runs would break with the first name that moves."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ard":
            for alias in node.names:
                assert has_name(node.module, alias.name), f"line {node.lineno}: no {alias.name} in {node.module}"


def has_name(module, name):
    return hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}") is not None


def run(source, folder, monkeypatch):
    """Executes Python with short training runs and evaluations, in a folder of its own; gives its names."""
    monkeypatch.chdir(folder)
    for name in ("pl.Trainer", "ard.fit", "ard.evaluate"):
        source = source.replace(f"{name}(", f"short_{name.rpartition('.')[2].lower()}(")
    names = {"short_trainer": short_trainer, "short_fit": short_fit, "short_evaluate": partial(ard.evaluate, limit=10)}
    exec(compile(re.sub(r"epochs, device = \d+", "epochs, device = 1", source), str(folder), "exec"), names)
    return names


def blocks(page):
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))


def test_the_page_about_shipping_runs(tmp_path, monkeypatch, capsys):
    classes = [f"number {digit}" for digit in range(10)]
    write_weights(tmp_path / "checkpoints/mine/student.safetensors", input_shape=[1, 8, 8], classes=classes)
    write_yaml(tmp_path / "checkpoints/mine/config.yaml", {"data": {"class_path": "ard.data.Digits"}})
    image = Digits().test_images().__getitems__([0])[0]
    answer = int(trained()(image / 255).argmax())
    (tmp_path / "new").mkdir()
    Image.fromarray(image[0, 0].numpy()).save(tmp_path / "new/1.jpg", format="PNG")  # which loses nothing
    names = run(blocks("docs/shipping.md"), tmp_path, monkeypatch)
    assert capsys.readouterr().out.startswith(f"number {answer}\n")
    alone = ard.evaluate(names["model"], Digits(), threat=ard.Linf(4 / 255), limit=10)
    assert names["record"].bits == alone.bits


def test_the_page_about_python_runs(tmp_path, monkeypatch, capsys):
    names = run(blocks("docs/python.md"), tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert set(names["records"]) == {"kd", "ard", "fast_ard"}
    assert all(f"| {name} |" in printed for name in names["records"])
    assert (tmp_path / "checkpoints/student/evaluation.json").is_file()
    assert (tmp_path / "checkpoints/mine/best.ckpt").is_file()


def test_the_lines_about_evaluation_run(tmp_path, monkeypatch, capsys):
    names = run(blocks("docs/evaluation.md"), tmp_path, monkeypatch)
    assert capsys.readouterr().out == f"{names['record']}\n"


def test_the_ten_lines_of_readme_run(tmp_path, monkeypatch, capsys):
    source = blocks("README.md")
    assert len([line for line in source.splitlines() if line]) <= 10
    run(source, tmp_path, monkeypatch)
    assert "Digits test, n = 10, Linf 0.15" in capsys.readouterr().out


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, tmp_path, monkeypatch, capsys):
    if "timm" in example.name and find_spec("timm") is None:
        with pytest.raises(SystemExit, match="needs timm: pip install timm"):
            run(example.read_text(), tmp_path, monkeypatch)
        return
    run(example.read_text(), tmp_path, monkeypatch)
    assert "worst case" in capsys.readouterr().out


def test_the_plain_loop_is_short():
    code = [line for line in (ROOT / "examples/plain_loop.py").read_text().splitlines() if line and not line.startswith('"')]
    assert len(code) <= 32
