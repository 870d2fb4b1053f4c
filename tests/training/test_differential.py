"""Our attacks beside other people's, on digits: the same strength, the same images, the same verdicts."""

import pytest
import torch
from small_runs import digits
from tiny import few_queries, generator
from torch import nn
from torch.nn import functional as F

from ard.attacks import FGSM, L2, PGD, Linf
from ard.data import Digits, to_pixels
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.library_attacks import AUTOATTACK_PARTS
from ard.losses import cross_entropy

CAMPAIGN = [pytest.mark.slow, pytest.mark.campaign]
BALLS = {"Linf": Linf(eps=0.1), "L2": L2(eps=0.5)}


def network(eps):
    """A perceptron of a second, trained against three sign steps of eps/2 written out here; plainly for eps 0."""
    data = Digits().training_images()
    images, labels = to_pixels(data.pixels), data.labels
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(400):
            chosen = torch.randint(len(labels), (128,))
            x, y = images[chosen], labels[chosen]
            x_adv = x + eps * (2 * torch.rand_like(x) - 1)
            for _ in range(3 if eps else 0):
                x_adv = x_adv.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y), x_adv)
                x_adv = torch.clamp(x_adv + eps / 2 * gradient.sign(), x - eps, x + eps).clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(net(x_adv.detach()), y).backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def undefended():
    return network(0)


@pytest.fixture(scope="module")
def defended():
    return network(0.15)


def accuracy(net, x, y):
    return (net(x).argmax(dim=1) == y).double().mean().item()


def attacked(attack, net, x, y):
    return attack(lambda x_adv: cross_entropy(net(x_adv), y), x, generator())


@pytest.mark.parametrize("ball", [Linf(eps=0.3), L2(eps=3)], ids=lambda ball: ball.norm)
def test_nothing_undefended_withstands_a_large_radius(ball, undefended):
    x, y = digits(400)
    assert accuracy(undefended, x, y) > 0.95
    assert accuracy(undefended, attacked(PGD(ball, steps=20, relative_step=0.25), undefended, x, y), y) < 0.01


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("subject", ["undefended", "defended"])
def test_pgd_is_as_strong_as_that_of_torchattacks(subject, norm, request):
    """From other random starts, so that images may differ but accuracies not by more than a point."""
    torchattacks = pytest.importorskip("torchattacks")
    net, (x, y), ball = request.getfixturevalue(subject), digits(400), BALLS[norm]
    theirs = {"Linf": torchattacks.PGD, "L2": torchattacks.PGDL2}[norm](net, eps=ball.eps, alpha=ball.eps / 4, steps=20)
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        expected = accuracy(net, theirs(x, y), y)
    found = accuracy(net, attacked(PGD(ball, steps=20, relative_step=0.25), net, x, y), y)
    assert abs(found - expected) <= 0.01
    assert 0.1 < expected < accuracy(net, x, y) - 0.05  # neither attack is idle, nor is everything lost


@pytest.mark.parametrize("name", ["FGSM", "PGD", "PGDL2"])
@pytest.mark.parametrize("subject", ["undefended", "defended"])
def test_from_the_same_start_the_images_are_those_of_torchattacks(subject, name, request):
    torchattacks = pytest.importorskip("torchattacks")
    net, (x, y) = request.getfixturevalue(subject), digits(200)
    ball = BALLS["L2" if name == "PGDL2" else "Linf"]
    path = {} if name == "FGSM" else {"alpha": ball.eps / 4, "steps": 10, "random_start": False}
    reference = getattr(torchattacks, name)(net, eps=ball.eps, **path)(x, y)
    attack = FGSM(ball) if name == "FGSM" else PGD(ball, relative_step=0.25, start="zero")
    assert (reference - x).abs().mean() > 0.01
    assert ((attacked(attack, net, x, y) - reference).abs() < 1e-3).double().mean() >= 0.99


def margins(net, x, y):
    logits = net(x).detach()
    label = F.one_hot(y, 10).bool()
    return logits[label] - logits.masked_fill(label, -torch.inf).amax(dim=1)


@pytest.mark.parametrize(
    ("norm", "count"),
    [("Linf", 120), ("L2", 60), pytest.param("Linf", 400, marks=CAMPAIGN), pytest.param("L2", 200, marks=CAMPAIGN)],
)
def test_autoattack_in_blocks_gives_the_verdicts_of_one_plain_call(norm, count, defended, monkeypatch):
    """Blocks of 100 with seeds of their own against one batch of all: a verdict may only hang on the draw.

    So where they differ, one side holds an image that fells the network, and the other side finds one from another seed.
    """
    library = pytest.importorskip("pyautoattack")
    if count < 200:
        few_queries(monkeypatch)
    (x, y), ball = digits(count), BALLS[norm]
    evaluation = Evaluation(defended, x, y, ball, suite="standard")
    evaluation.judge()
    record = evaluation.record()
    ours = torch.stack([evaluation.verdicts.correct[name] for name in AUTOATTACK_PARTS]).all(dim=0)

    def plain(x, y, seed):
        with torch.random.fork_rng([]):
            runner = library.AutoAttack(defended, norm=norm, eps=ball.eps, seed=seed)
            x_adv, answers = runner.run_standard_evaluation(x, y, batch_size=len(x))
        defended.zero_grad()
        return x_adv, answers == y

    x_adv, theirs = plain(x, y, 0)
    assert record.autoattack_acc == ours.double().mean()
    assert abs(int(ours.sum()) - int(theirs.sum())) <= max(1, 0.005 * count)
    assert ((margins(defended, x_adv, y) > 0) == theirs).all()
    assert ((margins(defended, evaluation.verdicts.x_adv, y) > 0) == evaluation.verdicts.worst).all()
    for i in (ours != theirs).nonzero().flatten().tolist():
        again = [plain(x[i : i + 1], y[i : i + 1], seed)[1].item() for seed in range(1, 6)]
        assert len({*again, theirs[i].item()}) == 2
    accuracies = {attack.name: attack.accuracy for attack in record.attacks}
    assert 0.2 < record.autoattack_acc < accuracies["FGSM"] < record.clean_acc - 0.05  # else agreeing would be easy
