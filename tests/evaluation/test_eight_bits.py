"""Attacks with images of 8 bits: inside the ball, on levels, and the same after a round trip through PNGs."""

import json
import os
import shutil
from pathlib import Path

import minisign
import pytest
import torch
from PIL import Image
from small_runs import cli, digits, trained, write_weights
from tiny import generator, user_error

from ard.artifacts import adversarial_pngs
from ard.attacks import L2, Linf
from ard.evaluation.eight_bits import on_levels
from ard.evaluation.evaluation import Evaluation, evaluate_images

pytestmark = pytest.mark.usefixtures("short_attacks")


def images(seed, n=20):
    return torch.randint(256, (n, 3, 6, 6), generator=generator(seed)) / 255


@pytest.mark.parametrize(
    "ball", [Linf(8 / 255), Linf(0.15), Linf(0.001), L2(0.5), L2(0.03)], ids=lambda b: f"{b.norm} {b.eps:.3f}"
)
def test_levels_lie_in_the_ball_and_nearly_where_the_attack_was(ball):
    x = images(0)
    x_adv = ball.project(x + ball.uniform(x, generator(1)), x)
    edge = ball.project(x + ball.eps * ball.steepest(torch.randn(x.shape, generator=generator(2))), x)
    for found in (x_adv, edge):
        moved = on_levels(found, x, ball)
        assert (ball.distance(moved - x) <= ball.eps * (1 + 1e-5)).all()
        assert ((moved * 255) - (moved * 255).round()).abs().max() < 1e-4
        assert (moved - found).abs().max() < 1 / 255 + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_a_pixel_whose_nearest_level_is_allowed_goes_there():
    """Also beside others that may not: 0.151 lies just above 38.5 levels."""
    x, ball = images(0), Linf(0.151)
    inner = ball.uniform(x, generator(1))
    x_adv = ball.project(x + torch.where(inner > 0.1, ball.eps, inner), x)
    nearest = (x_adv * 255).round() / 255
    allowed = (nearest - x).abs() <= ball.eps
    assert torch.equal(on_levels(x_adv, x, ball)[allowed], nearest[allowed])


def test_whole_levels_stay():
    x = images(0)
    shift = torch.randint(-8, 9, x.shape, generator=generator(1)) / 255
    x_adv = (x + shift).clamp(0, 1)
    assert torch.equal(on_levels(x_adv, x, Linf(8 / 255)), (x_adv * 255).round() / 255)


def test_an_evaluation_on_levels_says_so_and_is_no_weaker_than_chance():
    x, y = digits(60)
    plain = evaluate_images(trained(), x, y, Linf(0.15))
    levels = evaluate_images(trained(), x, y, Linf(0.15), eight_bit=True)
    assert (plain.threat.eight_bit, levels.threat.eight_bit) == (None, True)
    assert levels.robust_acc >= plain.robust_acc - 1e-9 - 2 / 60
    assert levels.robust_acc <= plain.robust_acc + 0.1
    with user_error("image 3 lies between levels of 8 bits"):
        evaluate_images(
            trained(), x + 0.001 * (torch.arange(60) == 3).view(-1, 1, 1, 1) * (x < 0.5), y, Linf(0.15), eight_bit=True
        )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    from ard.__main__ import main

    weights = write_weights(tmp_path_factory.mktemp("levels") / "student.safetensors")
    assert main(["evaluate", str(weights), "--limit=40", "--save-adversarial", "--eight-bit"]) == 0
    return weights.parent


def test_a_folder_of_pngs_proves_what_it_claims(evaluated, capsys):
    folder = evaluated / "evaluation.adversarial"
    assert len(list(folder.glob("*.png"))) == 40
    status, out, err = cli(capsys, "verify", folder, evaluated)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert "40 images within Linf 0.1, images of 8 bits, robust accuracy" in out
    assert json.loads((evaluated / "evaluation.json").read_text())["threat"]["eight_bit"] is True


def test_the_claim_of_a_folder_can_be_signed_for_all_of_it(evaluated, tmp_path, capsys):
    folder, pair = shutil.copytree(evaluated / "evaluation.adversarial", tmp_path / "copy"), minisign.KeyPair.generate()
    words = ("verify", folder, evaluated, "--public-key", pair.public_key.to_base64().decode())
    assert "claim.json is not signed" in cli(capsys, *words)[2]
    signature = pair.secret_key.sign((folder / "claim.json").read_bytes(), trusted_comment="mine")
    (folder / "claim.json.minisig").write_bytes(bytes(signature))
    assert cli(capsys, *words)[0] == 0
    image = Image.open(folder / "00007.png")
    image.putpixel((3, 3), 255 - image.getpixel((3, 3)))
    image.save(folder / "00007.png")
    assert cli(capsys, *words)[0] == 2


@pytest.mark.parametrize("damage", ["pixel", "label", "missing", "cut", "another size", "more than there is memory"])
def test_a_changed_folder_is_refused(evaluated, tmp_path, capsys, damage, monkeypatch):
    folder = shutil.copytree(evaluated / "evaluation.adversarial", tmp_path / "copy")
    file, claim = folder / "00007.png", json.loads((folder / "claim.json").read_text())
    if damage == "pixel":
        image = Image.open(file)
        image.putpixel((3, 3), 255 - image.getpixel((3, 3)))
        image.save(file)
    elif damage == "label":
        claim["y"][0] = (claim["y"][0] + 1) % 10
        (folder / "claim.json").write_text(json.dumps(claim))
    elif damage == "missing":
        file.unlink()
    elif damage == "another size":
        Image.new("L", (4000, 4000)).save(file)
    elif damage.startswith("more"):
        monkeypatch.setattr("ard.artifacts.adversarial_pngs.LARGEST_FILE", 40 * 64 * 4 - 1)
    else:
        file.write_bytes(file.read_bytes()[:60])
    status, out, err = cli(capsys, "verify", folder, evaluated)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "holds no adversarial images" in err
    assert damage != "another size" or "00007.png is (1, 4000, 4000), 00000.png (1, 8, 8)" in err


def test_evaluated_again_the_folder_is_replaced_and_nothing_else_there_goes(evaluated, tmp_path, capsys):
    run = shutil.copytree(evaluated, tmp_path / "run")
    folder = run / "evaluation.adversarial"
    for name in ("mine.txt", "2024.png"):
        (folder / name).write_text("mine")
    again = ("--limit=40", "--save-adversarial", "--eight-bit", "--seed=1", "--replace")
    status, out, err = cli(capsys, "evaluate", run, *again)
    assert out.splitlines()[-1].startswith(f"next: ard verify {folder} ")
    assert (folder / "mine.txt").read_text() == (folder / "2024.png").read_text() == "mine"
    assert (status, err) == (0, "")
    assert cli(capsys, "verify", folder, run)[0] == 0


SAVED = ("--limit=40", "--save-adversarial", "--eight-bit")


@pytest.mark.parametrize("what", ["link", "foreign", "file"])
def test_nothing_is_written_through_a_link_or_among_files_of_somebody_else(what, tmp_path, capsys, monkeypatch):
    weights, theirs = write_weights(tmp_path / "student.safetensors"), tmp_path / "theirs"
    folder = tmp_path / "evaluation.adversarial"
    theirs.mkdir()
    (theirs / "00007.png").write_text("mine")
    if what == "link":
        folder.symlink_to(theirs)
    elif what == "foreign":
        theirs = theirs.rename(folder)
    else:
        folder.write_text("mine")
    monkeypatch.setattr(Evaluation, "judge", lambda *_: pytest.fail("attacked"))
    status, out, err = cli(capsys, "evaluate", weights, *SAVED)
    said = {"link": "is a link; expected", "foreign": "holds files, but no claim.json of ours", "file": "is a file"}
    assert (status, out, err.count("\n"), said[what] in err) == (2, "", 1, True)
    assert folder.is_file() or [file.read_text() for file in theirs.iterdir()] == ["mine"]


def test_a_link_that_appears_meanwhile_is_not_followed(evaluated, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(evaluated, tmp_path / "run")
    folder, judge = run / "evaluation.adversarial", Evaluation.judge
    before = sorted(file.name for file in folder.iterdir())

    def linked(self, *given):
        judge(self, *given)
        folder.rename(tmp_path / "theirs")
        folder.symlink_to(tmp_path / "theirs")

    monkeypatch.setattr(Evaluation, "judge", linked)
    status, _, err = cli(capsys, "evaluate", run, *SAVED, "--seed=1", "--replace")
    assert (status, err.count("\n"), "evaluation.adversarial is a link" in err) == (2, 1, True)
    assert sorted(file.name for file in (tmp_path / "theirs").iterdir()) == before


def test_a_folder_that_was_half_written_is_written_again(evaluated, tmp_path, capsys, monkeypatch):
    """The claim goes first, so that the rest is known to be ours."""
    run, moved, replace = shutil.copytree(evaluated, tmp_path / "run"), [], os.replace
    shutil.rmtree(run / "evaluation.adversarial")

    def killed(source, target):
        moved.extend([target] if Path(target).suffix == ".png" else [])
        if len(moved) == 20:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        assert cli(capsys, "evaluate", run, *SAVED)[0] == 130
    assert cli(capsys, "evaluate", run, *SAVED)[0] == 0
    assert cli(capsys, "verify", run / "evaluation.adversarial", run)[0] == 0


def test_a_folder_that_was_half_removed_is_still_known_as_ours(evaluated, tmp_path, monkeypatch):
    """The claim goes last."""
    folder, removed = shutil.copytree(evaluated / "evaluation.adversarial", tmp_path / "images"), []

    def killed(path):
        removed.append(path)
        if len(removed) == 3:
            raise KeyboardInterrupt
        path.unlink()

    with monkeypatch.context() as patched:
        patched.setattr(adversarial_pngs, "discard", killed)
        with pytest.raises(KeyboardInterrupt):
            adversarial_pngs.remove_pngs(folder)
    adversarial_pngs.check_pngs(folder)
    adversarial_pngs.remove_pngs(folder)
    assert not list(folder.glob("000*.png"))
    assert not (folder / "claim.json").exists()


def test_a_record_of_other_images_is_not_replaced_unasked(evaluated, capsys):
    status, _, err = cli(capsys, "evaluate", evaluated, "--limit=40")
    assert (status, err.count("\n")) == (2, 1)
    then = "Linf 0.1, images of 8 bits, seed 0 (evaluation.adversarial would be lost)"
    assert f"{then}; suite quick, n = 40, Digits test, Linf 0.1, seed 0 would replace it" in err
    assert cli(capsys, "evaluate", evaluated, "--limit=40", "--replace")[0] == 0
    status, _, err = cli(capsys, "evaluate", evaluated, "--limit=40", "--eight-bit")
    assert (status, "Linf 0.1, images of 8 bits, seed 0 would replace it" in err) == (2, True)
