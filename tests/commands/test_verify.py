"""`ard verify`: stored adversarial images prove what they claim, and whoever changes them is found out."""

import json
import math
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from small_runs import DATA, cli, digits, narrow, trained, write_weights, write_yaml

pytestmark = pytest.mark.usefixtures("short_attacks")

THREATS = {"Linf": 0.1, "L2": 0.5}
FILE = "evaluation.adversarial.safetensors"


@pytest.fixture(scope="module", params=THREATS)
def evaluated(request, tmp_path_factory):
    """A folder with weights, their record and the images."""
    from ard.__main__ import main

    threat = {"norm": request.param, "eps": THREATS[request.param]}
    weights = write_weights(tmp_path_factory.mktemp(request.param) / "student.safetensors", threat=threat)
    assert main(["evaluate", str(weights), "--save-adversarial"]) in (0, 3, 4)  # what checks find of it is not asked
    return weights.parent


def contents(file):
    with safe_open(file, "pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}, json.loads(stored.metadata()["record"])  # noqa: SIM118


@pytest.fixture
def tampered(evaluated, tmp_path):
    """tampered(change): a copy of the file in which `change(tensors, told)` has changed something."""

    def changed(change):
        tensors, told = contents(evaluated / FILE)
        change(tensors, told)
        file = tmp_path / "changed.safetensors"
        file.write_bytes(save(tensors, {"record": json.dumps(told)}))
        return file

    return changed


def refused(capsys, *arguments):
    status, out, err = cli(capsys, "verify", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("ard: ")
    return err


def found(capsys, evaluated, file):
    """What is wrong, in one line."""
    status, out, err = cli(capsys, "verify", file, evaluated / "student.safetensors")
    assert (status, err, out.count("\n")) == (4, "", 1)
    return out


def test_what_was_saved_holds(evaluated, capsys):
    status, out, err = cli(capsys, "verify", evaluated / FILE, evaluated)  # the run's folder stands for its student
    assert (status, err) == (0, "")
    told = contents(evaluated / FILE)[1]
    claim = f"{told['threat']['norm']} {told['threat']['eps']}, robust accuracy {100 * told['robust_acc']:.1f} %"
    assert out == f"{evaluated / FILE}: 400 images within {claim}: every image, label and verdict holds\n"


def test_the_file_says_of_each_image_what_a_computation_from_scratch_says(evaluated):
    tensors, told = contents(evaluated / FILE)
    x, y = digits(400)
    robust = trained()(tensors["x_adv"]).argmax(1) == y
    order = {"Linf": torch.inf, "L2": 2}[told["threat"]["norm"]]
    assert torch.linalg.vector_norm(tensors["x_adv"] - x, order, dim=(1, 2, 3)).max() <= told["threat"]["eps"] + 1e-6
    assert 0 <= tensors["x_adv"].min() <= tensors["x_adv"].max() <= 1
    assert torch.equal(tensors["y"], y)
    assert torch.equal(tensors["robust"], robust)
    record = json.loads((evaluated / "evaluation.json").read_text())
    assert told["robust_acc"] == record["robust_acc"] == robust.double().mean()
    assert 0 < told["robust_acc"] < 0.9
    assert told == {key: record[key] for key in told}


def push(tensors, told, factor=1.5):
    """A clean image with one pixel moved, towards where there is room, so far."""
    image = tensors["x_adv"][7].copy_(digits(400)[0][7]).view(-1)
    pixel = (image - 0.5).abs().argmax()
    image[pixel] += (1 - 2 * image[pixel].round()) * told["threat"]["eps"] * factor


def out_of_range(tensors, _):
    tensors["x_adv"][3, 0, 0, 0] = -0.01


def not_a_number(tensors, _):
    tensors["x_adv"][3, 0, 0, 0] = torch.nan


def wrong_label(tensors, _):
    tensors["y"][0] = (tensors["y"][0] + 1) % 10


def flip_bits(tensors, told):
    tensors["robust"][:5] ^= True
    told["robust_acc"] = float(tensors["robust"].double().mean())


def clean_images(tensors, _):
    tensors["x_adv"] = digits(400)[0]


def claim_more(_, told):
    told["robust_acc"] += 1 / 400


def flip_one(tensors, _):
    tensors["robust"][0] ^= True


def forge_one(tensors, told):
    flip_one(tensors, told)
    told["robust_acc"] = float(tensors["robust"].double().mean())


def at_the_boundary(tensors, told):
    """An image whose two largest logits are equal up to rounding, with the verdict of another machine."""
    y = digits(400)[1]
    place = int((~tensors["robust"] & (trained()(digits(400)[0]).argmax(1) == y)).nonzero()[0])
    right, wrong = digits(400)[0][place], tensors["x_adv"][place].clone()
    for _ in range(14):
        middle = (right + wrong) / 2
        is_right = trained()(middle[None]).argmax(1)[0] == y[place]
        right, wrong = (middle, wrong) if is_right else (right, middle)
    tensors["x_adv"][place], tensors["robust"][place] = wrong, True
    told["robust_acc"] = float(tensors["robust"].double().mean())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (push, "1 images leave the"),
        (out_of_range, "pixels in [-0.01, "),
        (not_a_number, "nan"),
        (wrong_label, "1 labels differ"),
        (flip_bits, "5 of 400 verdicts could not be reproduced"),
        (clean_images, "verdicts could not be reproduced"),
        (claim_more, "robust accuracy that is claimed"),
        (flip_one, "robust accuracy that is claimed"),
        (forge_one, "1 of 400 verdicts could not be reproduced"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_is_changed_is_said_and_ends_with_status_4(change, said, evaluated, tampered, capsys):
    assert said in found(capsys, evaluated, tampered(change))


def test_one_wrong_bit_anywhere_is_not_believed(evaluated, tmp_path, capsys):
    """Also where the images would still prove the claim; a label's or a verdict's bit is one of these."""
    content = (evaluated / FILE).read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    file = tmp_path / FILE
    for place in range(begin, len(content), (len(content) - begin) // 12):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "they are not those that were written" in refused(capsys, file, evaluated / "student.safetensors")


def test_an_image_at_the_very_edge_of_the_ball_is_inside(evaluated, tampered, capsys):
    def stay(tensors, told):
        push(tensors, told, factor=1)
        tensors["robust"] = trained()(tensors["x_adv"]).argmax(1) == tensors["y"]
        told["robust_acc"] = float(tensors["robust"].double().mean())

    file = tampered(stay)
    status, out, _ = cli(capsys, "verify", file, evaluated / "student.safetensors")
    assert (status, "holds" in out) == (0, True)


def test_a_verdict_that_rounding_decides_may_differ_and_is_told(evaluated, tampered, capsys):
    status, out, _ = cli(capsys, "verify", tampered(at_the_boundary), evaluated / "student.safetensors")
    assert status == 0
    assert out.endswith(
        "every image and label holds; 1 of 400 verdicts could not be reproduced, as the largest logits are equal up to "
        "rounding\n"
    )


def test_other_weights_are_refused(evaluated, tmp_path, capsys):
    other = write_weights(tmp_path / "other.safetensors", narrow())
    assert "other weights" in refused(capsys, evaluated / FILE, other)
    assert "no such file" in refused(capsys, evaluated / FILE, tmp_path / "nope.safetensors")


def test_other_images_are_refused(evaluated, tmp_path, capsys):
    other = {**DATA, "init_args": {**DATA["init_args"], "split_seed": 1}}
    weights = evaluated / "student.safetensors"
    (tmp_path / "student.safetensors").write_bytes(weights.read_bytes())
    assert cli(capsys, "evaluate", tmp_path / "student.safetensors", "--split", "val", "--save-adversarial")[0] == 0
    data = write_yaml(tmp_path / "data.yaml", {"data": other})
    assert "other images" in refused(capsys, tmp_path / FILE, weights, "--data", data)
    assert cli(capsys, "verify", tmp_path / FILE, weights)[0] == 0


def foreign_files(file):
    content = file.read_bytes()
    tensors, told = contents(file)
    yield from (b"", b"x_adv", content[: len(content) // 2], content[:-1], pickle.dumps(tensors))
    yield (file.parent / "student.safetensors").read_bytes()
    for name, value in tensors.items():
        for other in (value[:-1], value.view(400, -1)[:, :1], value.to(torch.int8)):
            yield save({**tensors, name: other.contiguous()}, {"record": json.dumps(told)})
        yield save({key: tensors[key] for key in tensors if key != name}, {"record": json.dumps(told)})
    checked = ("weights", "dataset", "split", "limit", "threat", "robust_acc")
    texts = [json.dumps({**told, key: odd}) for key in checked for odd in ("odd", {}, [None])]
    texts += [json.dumps({key: told[key] for key in told if key != missing}) for missing in checked]
    texts += [
        json.dumps({**told, "robust_acc": math.nan}),
        json.dumps({**told, "threat": {"norm": "L7", "eps": 0.1}}),
        json.dumps({**told, "limit": 401}),
        "[]",
        "{",
    ]
    yield from (save(tensors, {"record": text}) for text in texts)


def test_what_holds_no_adversarial_images_is_refused(evaluated, tmp_path, capsys):
    file, weights = tmp_path / "foreign.safetensors", evaluated / "student.safetensors"
    for content in foreign_files(evaluated / FILE):
        file.write_bytes(content)
        refused(capsys, file, weights)
    said = refused(capsys, weights, weights)
    assert "it has no x_adv, y and robust; expected FILE.adversarial.safetensors, which `ard evaluate" in said
    assert "no such file" in refused(capsys, tmp_path / "nope.safetensors", weights)
