"""The words that random draws are keyed by: another word for the same purpose would draw other numbers, in silence."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from ard.attacks import L2, Linf
from ard.core.randomness import key_seed, keyed_generator
from ard.evaluation.suites import Given, full
from ard.training.engine import Engine

ROOT = Path(__file__).parents[2]
STEP = (3, 1, 2, 0)  # seed, epoch, batch, rank: what a training step is keyed by
SEEDS = {
    ("student", 3): 8413112907075329048,
    ("attack", 3, 1, 2, 0): 6627370118148415504,
    ("augmentation", 3, 1, 2, 0): 196691323597801392,
    ("objective", 3, 1, 2, 0): 8699858121143301305,
    ("dropout", 3, 1, 2, 0): 2418257473286326367,
    ("val_attack", 3, 2, 0): 7368593162340761060,
    ("guard", 3, 2, 0): 7110395033837359777,
    ("order", 3, 1): 6707638293199717666,
    ("limit", 3): 6045311460419087996,
    ("check", "PGD-20", 3): 6736582262044711465,
    ("doctor", 0): 7127244295044483398,
    ("bench", 5): 6743404468146342006,
    ("start", 5): 2469704915206369438,
    ("noise",): 4917551489826101094,
    ("trained", 5): 68370938276567979,
    ("photo", 3, 1, 5): 956370533140763269,
    ("image", 3, 1, 5): 5131328643529169446,
    ("random image", "train", 5): 5913567018626863834,
    ("cutmix", 3, 1, 2, 0): 6257775660020371975,
    ("gradients", 3): 4387852142651605107,
    ("differences", 3): 8999251103295804416,
    ("pruning", 3): 6908746994063398328,
    ("pruning", 3, 64): 7116773895202663570,
    ("diagnostic", 3, "noise"): 8977847230977863981,
    ("strength",): 3748460794978187299,
    ("strength", 3, 2): 8868291423994424512,
}
NAMES = {  # of adversaries: the seed that comes with (name, 3, 0), a run's seed and the first image of a block
    "APGD-CE": 8280442863655588378,
    "APGD-T": 6120783672132680786,
    "CW": 3299512942914844792,
    "DLR": 7674003534295481673,
    "FAB-T": 6573719787144571429,
    "FGSM": 5163400014302717790,
    "JPEG": 8207328526308954199,
    "KL to teacher": 904909386213334227,
    "Noise": 3843082400591856342,
    "PGD-100": 61491321293132491,
    "PGD-100 × 10": 2261177285876686395,
    "PGD-100 × 5": 6586791157432331707,
    "PGD-20": 3839842524217224716,
    "PGD-20 L2 0.5": 1565990189729540119,
    "PGD-20 Linf 0.0314": 2763532991430549378,
    "PGD-20 at 0.25 eps": 3178240294652375899,
    "PGD-20 at 0.5 eps": 8071954022459309720,
    "PGD-20 at 2 eps": 7522794372527846221,
    "PGD-20 at 4 eps": 6454257257661189302,
    "PGD-50/100": 5701984252384596714,
    "Square": 3469053104039455338,
    "Targeted": 4176845863783526926,
    "Transfer other": 7385760502634360990,
    "brightness": 3722493599945190657,
    "contrast": 3641403678511115850,
    "gaussian blur": 5712856758955500265,
    "gaussian noise": 3078970320014932939,
    "identity": 1926441700791963269,
}
CHECKED = ("PGD-50/100", "identity")  # adversaries that only the checks of an evaluation have
VARIABLE = {"purpose", "adversary.name", "*key"}  # where the word comes from elsewhere: Engine.generator, the names above


def calls() -> Iterator[tuple[str, list[ast.expr]]]:
    """Where, and the key as it is written, of every call that makes a seed or a generator."""
    for path in sorted([*(ROOT / "ard").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                if name in ("key_seed", "keyed_generator"):
                    yield place, node.args[name == "keyed_generator" :]  # its first argument is the device
                elif "diagnostics" in path.parts:
                    continue  # Inspected.generator, which begins each key with "diagnostic" and the seed
                elif name == "generator" and isinstance(node.func, ast.Attribute):  # Engine.generator
                    yield place, [node.args[0], ast.parse("*self.step_key(batch_idx),").body[0].value.elts[0]]


def written(key: list[ast.expr]) -> tuple[str | None, int]:
    """The word of a key, None where it is a variable, and how many entries the key has."""
    assert key
    word = key[0].value if isinstance(key[0], ast.Constant) else None
    return word, sum(len(STEP) if ast.unparse(part) == "*self.step_key(batch_idx)" else 1 for part in key)


def adversaries() -> set[str]:
    """Every name that an evaluation keys its draws by, in both norms and with all that a user can bring."""
    given = Given(transfer={"other": nn.Identity()}, teacher=nn.Identity(), undefended=nn.Identity())
    return {adversary.name for ball in (Linf(eps=8 / 255), L2(eps=0.5)) for adversary in full(ball, 10, given, 3072)}


@pytest.mark.parametrize("key", SEEDS, ids=str)
def test_a_key_gives_this_seed(key):
    assert key_seed(*key) == SEEDS[key]
    assert keyed_generator("cpu", *key).initial_seed() == SEEDS[key]


def test_every_word_in_the_code_has_its_seed_here():
    known = {(key[0], len(key)) for key in SEEDS}
    found = {place: written(key) for place, key in calls()}
    assert {place: key for place, key in found.items() if key[0] is not None and key not in known} == {}
    assert {key for key in found.values() if key[0] is not None} == known


def test_words_that_are_no_literals_come_from_known_places():
    assert {ast.unparse(key[0]) for _, key in calls() if not isinstance(key[0], ast.Constant)} == VARIABLE


def test_a_step_is_keyed_by_seed_epoch_batch_and_rank():
    class Run:
        seed, global_rank, device = STEP[0], STEP[3], "cpu"
        trainer = type("Trainer", (), {"current_epoch": STEP[1]})
        step_key = Engine.step_key

    assert Engine.step_key(Run(), STEP[2]) == STEP
    assert Engine.generator(Run(), "attack", STEP[2]).initial_seed() == SEEDS["attack", *STEP]


def test_adversaries_have_the_names_that_their_draws_are_keyed_by():
    assert {name: key_seed(name, 3, 0) for name in (*adversaries(), *CHECKED)} == NAMES
