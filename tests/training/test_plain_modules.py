"""The engines as a Lightning user takes them: networks as they are, loaders of one's own, any trainer."""

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from plain_runs import FOREIGN, PLAIN, Net, Sized, digits, fitted, loader, plain_trainer
from pytorch_lightning import Callback
from pytorch_lightning.utilities import CombinedLoader
from tiny import user_error
from torch import nn
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
)

import ard
from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.attacks import FGSM, PGD
from ard.core.files import sha256
from ard.data import Digits
from ard.data.foreign import ForeignData
from ard.models import Ensemble, Frozen, Normalized
from ard.objectives.adr import ADR
from ard.objectives.akd import AKD2
from ard.objectives.cgard import CGARD
from ard.objectives.fair_ard import FairARD
from ard.objectives.head_scale import HeadScale
from ard.objectives.iad import IADII
from ard.objectives.igdm import IGDM
from ard.objectives.ikl import IKLAT
from ard.objectives.lbgat import LBGAT
from ard.objectives.liet import LIET
from ard.objectives.mtard import CIARD, MTARD
from ard.objectives.peeraid import PeerAiD
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.objectives.teacher_labels import TeacherLabels
from ard.training.callbacks.guards import Guards
from ard.training.schedule import Training

pytestmark = PLAIN


@FOREIGN
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.double() / 255], ids=["uint8", "float64"])
def test_networks_and_loaders_of_ones_own_just_work(change, channels):
    """In a plain trainer: a sanity check before training, and validation under inference mode."""
    net, teacher = Net(channels), Net(channels)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    module = ard.Distillation(student=net, teacher=teacher, objective="rslad", eps=0.1)
    trainer = fitted(module, change=change, channels=channels)
    assert module.student is net
    assert (module.num_classes, module.data.input_shape) == (10, (channels, 8, 8))
    assert {"train/kl_adv", "val/clean_acc", "val/robust_acc", "val/teacher_on_student_adv_acc"} <= set(
        trainer.callback_metrics
    )
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@FOREIGN
def test_uint8_and_float_pixels_are_the_same_run():
    def weights(change):
        torch.manual_seed(0)
        module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
        pl.seed_everything(3, verbose=False)
        fitted(module, change=change)
        return torch.cat([part.flatten() for part in module.student.parameters()])

    assert torch.equal(weights(lambda x: x), weights(lambda x: x / 255))


def test_what_is_not_promised_is_said_once():
    module = ard.Distillation(student=Net(), objective="natural")
    with pytest.warns(UserWarning, match="not of ard.data: .* not to the same bits") as said:
        fitted(module, trainer=plain_trainer(2))
    assert len([one for one in said if "ard.data" in str(one.message)]) == 1


def test_our_own_data_module_needs_no_warning_and_tells_the_classes():
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    trainer = plain_trainer(limit_train_batches=2, limit_val_batches=1, log_every_n_steps=1)
    trainer.fit(module, datamodule=Digits(batch_size=32))
    assert module.num_classes == 10


class Shapes(pl.LightningDataModule):
    def train_dataloader(self):
        return loader()

    def val_dataloader(self):
        return loader(64, 1)


@FOREIGN
def test_any_lightning_data_module_and_validation_alone():
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    plain_trainer().fit(module, datamodule=Shapes())
    (found,) = plain_trainer().validate(module, loader(64, 1), verbose=False)
    assert set(found) == {"val/clean_acc", "val/robust_acc", "val/chance", "val/loss"}


class Several(Shapes):
    """Loaders as they are handed over: for training, and for validation."""

    def __init__(self, *loaders):
        super().__init__()
        self.train_dataloader, self.val_dataloader = ((lambda given=given: given) for given in loaders)


ONE, TWO = loader(), [loader(), loader()]


@FOREIGN
@pytest.mark.parametrize(
    "many", [TWO, CombinedLoader(TWO, "max_size"), {"a": ONE, "b": ONE}], ids=["list", "combined", "dict"]
)
@pytest.mark.parametrize("sanity", [0, 1])
def test_several_loaders_are_refused_before_training(many, sanity):
    for kind, loaders in (("training", (many, ONE)), ("validation", (ONE, many))):
        module, trainer = (
            ard.Distillation(student=Net(), objective="pgd_at", eps=0.1),
            plain_trainer(num_sanity_val_steps=sanity),
        )
        with user_error(f"^2 {kind} loaders: expected one, such as DataLoader.torch.utils.data.ConcatDataset"):
            trainer.fit(module, datamodule=Several(*loaders))
        assert trainer.global_step == 0


def test_several_loaders_are_refused_for_validation_alone_and_one_in_a_list_is_fine():
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    with user_error("2 validation loaders"):
        plain_trainer().validate(module, TWO, verbose=False)
    assert plain_trainer().validate(module, [ONE], verbose=False)


class Changing(Shapes):
    """As many batches more in every epoch."""

    def __init__(self, more):
        super().__init__()
        self.more = more

    def train_dataloader(self):
        return loader(96 + 32 * self.more * self.trainer.current_epoch)


@FOREIGN
@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("schedule", ["one_cycle", "triangular"])
def test_epochs_of_other_lengths_than_the_schedule_knows_are_refused(more, schedule):
    module = ard.Distillation(student=Net(), objective="natural", training={"schedule": schedule})
    trainer = plain_trainer(3, reload_dataloaders_every_n_epochs=1)
    with user_error(f"epoch 1 has {3 + more} batches, and the schedule is planned for 3 in each"):
        trainer.fit(module, datamodule=Changing(more))


@FOREIGN
@pytest.mark.parametrize(
    ("schedule", "epochs", "steps"), [("one_cycle", -1, 9), ("multistep", 3, -1)], ids=["so many steps", "no end"]
)
def test_epochs_may_have_any_length_where_they_do_not_say_when_a_schedule_ends(schedule, epochs, steps):
    module = ard.Distillation(student=Net(), objective="natural", training={"schedule": schedule})
    trainer = plain_trainer(epochs, max_steps=steps, reload_dataloaders_every_n_epochs=1)
    trainer.fit(module, datamodule=Changing(1))
    assert trainer.global_step == (steps if steps > 0 else 3 + 4 + 5)


@FOREIGN
def test_free_replays_and_a_second_trainer():
    module = ard.FreeDistillation(student=Net(), teacher=Net(), objective="Fast-ARD", eps=0.1, replays=2)
    assert fitted(module, trainer=plain_trainer(2)).global_step == 6
    assert fitted(module, trainer=plain_trainer(4)).global_step == 12
    assert module.optimizer_steps == 12


@FOREIGN
@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 6), ({"accumulate_grad_batches": 2}, 4), ({"max_steps": 5}, 5), ({"limit_train_batches": 2}, 4)],
)
def test_the_schedule_is_as_long_as_the_run(options, steps):
    module = ard.Distillation(student=Net(), objective="natural")
    fitted(module, trainer=plain_trainer(2, **options))
    assert module.optimizer_steps == module.trainer.global_step == steps


@FOREIGN
@pytest.mark.parametrize("objective", ["liet", "fair_ard"])
def test_a_method_that_looks_at_every_batch_refuses_steps_of_several(objective):
    teacher = Net() if objective == "fair_ard" else None
    module = ard.Distillation(student=Net(), teacher=teacher, objective=objective, eps=0.1)
    with user_error("accumulate_grad_batches = 2: .* looks at every batch of a step; expected 1"):
        fitted(module, trainer=plain_trainer(accumulate_grad_batches=2))


@FOREIGN
@pytest.mark.parametrize("schedule", [{0: 3}, {1: 2}])
def test_steps_of_several_batches_now_and_then_are_refused(schedule):
    """The learning rate would fall for a run of other length."""
    trainer = plain_trainer(4, callbacks=[pl.callbacks.GradientAccumulationScheduler(schedule)])
    with user_error("GradientAccumulationScheduler .* expected accumulate_grad_batches=N in the trainer"):
        fitted(ard.Distillation(student=Net(), objective="natural"), trainer=trainer)
    assert trainer.global_step == 0


@FOREIGN
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: torch.where(torch.arange(64) == 40, -1, y), "image 8 has the label -1 .* expected 0 to 9"),
        (lambda y: nn.functional.one_hot(y, 10).float(), "expected whole numbers, one an image"),
    ],
    ids=["none", "shares"],
)
def test_a_validation_label_that_is_no_class_is_refused(change, message):
    x, y = digits(64, split=1)
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    with user_error(message):
        plain_trainer().fit(module, loader(), DataLoader(TensorDataset(x, change(y)), batch_size=32))


@FOREIGN
@pytest.mark.parametrize(
    "change",
    [
        lambda y: y[:, None],
        lambda y: nn.functional.one_hot(y, 12).float(),
        lambda y: nn.functional.one_hot(y, 10) - 0.1,
        lambda y: nn.functional.one_hot(y, 10) + 0.1,
        lambda y: nn.functional.one_hot(y, 10) * float("nan"),
    ],
    ids=["a column", "too many classes", "below 0", "above 1", "nan"],
)
@pytest.mark.parametrize("objective", ["pgd_at", "liet"])
def test_training_labels_that_are_neither_classes_nor_shares_are_refused(objective, change):
    x, y = digits(64)
    module = ard.Distillation(student=Net(), objective=objective, eps=0.1)
    with user_error("labels of shape .* or shares of 10 classes|labels as shares .* with a sum of"):
        plain_trainer().fit(module, DataLoader(TensorDataset(x, change(y)), batch_size=32), loader(32, 1))


class Headed(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(10, 10)

    def forward(self, x):
        return self.head(self.body(x))


@FOREIGN
@pytest.mark.parametrize("shared", ["all", "a part", "in an ensemble"])
def test_a_teacher_that_shares_weights_with_the_student_is_refused_and_freezes_none(shared):
    net = Net()
    student = net if shared == "all" else Headed(net)
    teacher = net if shared == "all" else Headed(net)
    if shared == "in an ensemble":
        teacher = ard.models.Ensemble(members=[Frozen.of(Net()), Frozen.of(teacher)])
    with user_error("share weights, which a teacher freezes: expected two networks"):
        fitted(ard.Distillation(student=student, teacher=teacher, objective="rslad", eps=0.1))
    assert all(parameter.requires_grad for parameter in net.parameters())


@FOREIGN
def test_an_objective_that_learned_beside_another_student_is_refused():
    objective, plain = MTARD(natural_teacher=Frozen.of(Net())), RSLAD()
    for one in (plain, objective, plain):
        fitted(ard.Distillation(student=Net(), teacher=Net(), objective=one, eps=0.1))
    with user_error("this MTARD has been trained in another module: expected a new one for each"):
        fitted(ard.Distillation(student=Net(), teacher=Net(), objective=objective, eps=0.1))


@FOREIGN
def test_a_network_that_has_taught_is_not_trained_by_accident():
    net = Net()
    fitted(ard.Distillation(student=Net(), teacher=net, objective="rslad", eps=0.1))
    with user_error(r"no parameter of the student can learn.*expected student.requires_grad_\(True\)"):
        fitted(ard.Distillation(student=net, objective="pgd_at", eps=0.1))
    fitted(ard.Distillation(student=net.requires_grad_(True), objective="pgd_at", eps=0.1))


@FOREIGN
def test_a_second_fit_begins_no_part_of_a_method_anew():
    def module():
        objective = HeadScale(base=PGDAT(), scale=0.1)
        return ard.Distillation(student=Headed(Net()), objective=objective, eps=0.1, training={"lr": 1e-9})

    first = module()
    fitted(first)
    before = first.student.head.weight.detach().clone()
    fitted(first)
    assert torch.allclose(before, first.student.head.weight, rtol=1e-3)
    other = module()
    before = other.student.head.weight.detach().clone()
    fitted(other)
    assert torch.allclose(0.1 * before, other.student.head.weight, rtol=1e-3)


@FOREIGN
def test_the_teacher_that_learns_goes_on_learning_in_a_second_fit():
    objective = CIARD(natural_teacher=Frozen.of(Net()), start=0.0, teacher_lr=0.1)
    module = ard.Distillation(student=Net(), teacher=Net(), objective=objective, eps=0.1, training={"lr": 1e-9})
    fitted(module)
    learner = objective.learner
    fitted(module)
    assert objective.learner is learner


@FOREIGN
def test_the_average_that_softens_labels_goes_on_in_a_second_fit():
    module = ard.Distillation(student=Net(), objective=ADR(decay=0.5), eps=0.1)
    fitted(module)
    average = module.objective.average
    fitted(module)
    assert module.objective.average is average


@FOREIGN
def test_a_method_of_several_points_an_image_inside_one_that_asks_about_them_all():
    module = ard.Distillation(student=Net(), teacher=Net(), objective=LIET(base=CGARD()), eps=0.1)
    assert fitted(module).global_step == 3


@FOREIGN
@pytest.mark.parametrize("objective", [LBGAT(clean_learner=Sized), PeerAiD(peer=Sized)], ids=["lbgat", "peeraid"])
def test_a_network_of_its_own_kind_is_told_for_how_many_classes(objective):
    with user_error("makes a network and is not told for how many classes: pass num_classes, too"):
        ard.Distillation(student=Net(), objective=objective, eps=0.1)
    fitted(ard.Distillation(student=Net(), objective=objective, eps=0.1, num_classes=10))


@FOREIGN
def test_a_run_without_an_end_is_refused():
    with user_error("without an end .* expected max_epochs"):
        fitted(ard.Distillation(student=Net(), objective="natural"), trainer=plain_trainer(-1))


class Stream(IterableDataset):
    """So many images, of which nobody says how many."""

    def __init__(self, count):
        self.images = digits(count)

    def __iter__(self):
        yield from zip(self.images[0], self.images[1], strict=True)


@FOREIGN
@pytest.mark.parametrize("objective", ["pgd_at", "trades"])
@pytest.mark.parametrize(("options", "epochs"), [({"max_steps": 3}, -1), ({"limit_train_batches": 2}, 2)])
def test_a_loader_without_a_length_trains_for_so_many_steps(objective, options, epochs):
    module, trainer = ard.Distillation(student=Net(), objective=objective, eps=0.1), plain_trainer(epochs, **options)
    trainer.fit(module, DataLoader(Stream(128), batch_size=32), loader(32, 1))
    assert trainer.global_step == module.optimizer_steps == (3 if epochs < 0 else 4)
    assert module.epochs == (1 if epochs < 0 else 2)


@FOREIGN
@pytest.mark.parametrize(
    ("objective", "training", "steps", "told"),
    [
        ("pgd_at", {}, -1, "expected limit_train_batches, as the loader has no length, or max_steps"),
        ("liet", {}, 3, "LIET goes by epochs, .* pass limit_train_batches"),
        (IKLAT(), {}, 3, "IKLAT goes by epochs"),
        ("pgd_at", {"eps_ramp": [0, 1]}, 3, "eps_ramp goes by epochs"),
        ("pgd_at", {"first_steps": 2}, 3, "first_steps goes by epochs"),
    ],
)
def test_a_loader_without_a_length_does_not_say_when_epochs_end(objective, training, steps, told):
    module = ard.Distillation(student=Net(), objective=objective, eps=0.1, training=training)
    with user_error(told):
        plain_trainer(2, max_steps=steps).fit(module, DataLoader(Stream(128), batch_size=32), loader(32, 1))


class Once(IterableDataset):
    """A stream that is gone once it was read."""

    def __init__(self, count):
        self.left = iter(list(zip(*digits(count), strict=True)))

    def __iter__(self):
        return self.left


class OnceWithALength(Once):
    def __len__(self):
        return 96


class Heard(Callback):
    """The labels of the batches that training sees."""

    def __init__(self):
        self.labels = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):  # noqa: ARG002
        self.labels += batch[1].tolist()


@FOREIGN
@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
@pytest.mark.parametrize("stream", [Once, OnceWithALength])
def test_no_batch_of_a_stream_is_lost_to_a_look_at_it(stream):
    trainer = plain_trainer(1, callbacks=[heard := Heard()], limit_train_batches=3)
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    trainer.fit(module, DataLoader(stream(96), batch_size=32), loader(32, 1))
    assert heard.labels == digits(96)[1].tolist()


@FOREIGN
@pytest.mark.parametrize(
    "data",
    [
        loader(96),
        DataLoader(Stream(96), batch_size=32),
        loader(96, num_workers=1, persistent_workers=True),
    ],
    ids=["images", "stream", "workers"],
)
def test_every_epoch_shows_every_batch_once_and_in_its_order(data):
    trainer = plain_trainer(2, callbacks=[heard := Heard()], limit_train_batches=3)
    trainer.fit(ard.Distillation(student=Net(), objective="natural"), data, loader(32, 1))
    assert heard.labels == 2 * digits(96)[1].tolist()


@FOREIGN
def test_a_resumed_epoch_has_the_order_of_its_sampler(tmp_path):
    """Which Lightning tells the epoch, after a look at the first batch."""

    def run(epochs, **start):
        x, y = digits(96)
        sampler = DistributedSampler(TensorDataset(x, y), num_replicas=1, rank=0, shuffle=True)
        trainer = plain_trainer(epochs, callbacks=[heard := Heard()])
        data = DataLoader(sampler.dataset, batch_size=32, sampler=sampler)
        trainer.fit(ard.Distillation(student=Net(), objective="natural"), data, loader(32, 1), **start)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return heard.labels

    whole, first = run(2), run(1)
    assert (whole[:96], whole[96:]) == (first, run(2, ckpt_path=tmp_path / "last.ckpt"))


@FOREIGN
def test_a_loader_that_gives_nothing_is_refused():
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    with user_error("the training loader gives no batch"):
        plain_trainer(1, limit_train_batches=3).fit(module, DataLoader(Once(0), batch_size=32), loader(32, 1))


@FOREIGN
def test_an_epoch_without_batches_is_refused_where_its_images_would_say_what_they_are():
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    with user_error("limit_train_batches = 0: nothing to train on"):
        fitted(module, trainer=plain_trainer(limit_train_batches=0))
    trainer = plain_trainer(limit_train_batches=0)
    trainer.fit(module, datamodule=Digits())
    assert (trainer.global_step, module.epochs) == (0, 0)


@FOREIGN
@pytest.mark.parametrize(("epochs", "steps", "told"), [(4, -1, 4), (-1, 7, 3), (4, 7, 3), (2, 7, 2)])
def test_an_objective_is_told_how_many_epochs_a_run_has_however_its_end_is_said(epochs, steps, told):
    objective = LIET()
    module = ard.Distillation(student=Net(), objective=objective, eps=0.1)
    fitted(module, trainer=plain_trainer(epochs, max_steps=steps))  # of three batches an epoch
    assert objective.epochs == told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x / 255 - 0.5, r"pixels in .* expected \[0, 1\]: take Normalize out .*Normalized.around"),
        (lambda x: x.float(), r"pixels in \[0, 255\]"),
        (lambda x: x[:, 0] / 255, "channels first"),
    ],
    ids=["normalised", "255", "no channels"],
)
def test_pixels_that_are_none_are_refused_before_the_first_step(change, message):
    module = ard.Distillation(student=Net(), objective="pgd_at")
    with user_error(message):
        fitted(module, change=change)
    assert module.trainer.global_step == 0


def test_the_way_out_works():
    """A network for normalised images is wrapped, and answers to pixels as it did."""
    net, x = Net().eval(), digits(4)[0] / 255
    assert torch.allclose(Normalized.around(net, mean=[0.5], std=[0.2])(x), net((x - 0.5) / 0.2))


@FOREIGN
def test_batches_of_another_form_are_refused():
    data = DataLoader([{"x": torch.zeros(1, 8, 8), "y": 0}] * 4, batch_size=2)
    with user_error("a batch is a dict; expected a pair of tensors"):
        plain_trainer().fit(ard.Distillation(student=Net(), objective="natural"), data, data)


def test_the_batch_size_is_that_of_all_processes_together():
    fetcher = SimpleNamespace(batches=[], iterator=((batch, place, 0) for place, batch in enumerate(loader())))
    data, loop = ForeignData(), SimpleNamespace(setup_data=lambda: None, _data_fetcher=fetcher)
    about = {"num_training_batches": 3, "world_size": 2, "is_global_zero": False, "enable_validation": False}
    data.look(SimpleNamespace(fit_loop=loop, train_dataloader=loader(), **about))
    assert (data.batch_size, data.image_count) == (64, 96)


@FOREIGN
@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 1}])
@pytest.mark.parametrize("labels", [lambda base: base, lambda base: TeacherLabels(base=base)], ids=["own", "teacher"])
def test_methods_that_weigh_classes_count_the_images_that_an_epoch_shows(labels, options):
    """Of any loader: one that draws, too; by the classes that they learn from."""
    x, y = digits(64)
    drawn = DataLoader(TensorDataset(x, y), batch_size=32, sampler=WeightedRandomSampler(torch.ones(64), 64))
    module = ard.Distillation(student=Net(), teacher=Net(), objective=labels(FairARD()), eps=0.1, attack=FGSM)
    plain_trainer(callbacks=[counts := Counts()], **options).fit(module, drawn, drawn)
    assert len(counts.shown) == options.get("limit_train_batches", 2)
    assert counts.counted.tolist() == torch.bincount(torch.cat(counts.shown), minlength=10).tolist()


class Counts(Callback):
    """The classes that an epoch shows, and what a method counted of them before it forgets."""

    def __init__(self):
        self.shown, self.counted = [], None

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):  # noqa: ARG002
        x, y = module.received(batch, batch_idx)
        fair = next(part for part in module.objective.parts() if isinstance(part, FairARD))
        self.counted = fair.shown.clone()
        with torch.no_grad():
            self.shown.append(y if fair is module.objective else module.teacher(x).argmax(dim=1))


@FOREIGN
def test_a_peer_of_a_network_is_another_network_of_its_kind():
    net = Net()
    module = ard.Distillation(student=net, objective="peeraid", eps=0.1)
    fitted(module)
    assert type(module.objective.peer) is Net
    assert not torch.equal(module.objective.peer.conv.weight, net.conv.weight)


@FOREIGN
@pytest.mark.parametrize(("objective", "name"), [("peeraid", "peer"), ("lbgat", "clean_learner")])
def test_a_peer_of_a_student_that_is_frozen_in_part_learns_everywhere(objective, name):
    """A frozen layer may be pretrained; the peer's is drawn anew, and would be noise for good."""
    net = Net()
    net.conv.requires_grad_(False)
    module = ard.Distillation(student=net, objective=objective, eps=0.1)
    before = copy.deepcopy(getattr(module.objective, name).state_dict())
    kept = net.conv.weight.clone()
    fitted(module)
    assert torch.equal(net.conv.weight, kept)
    learned = getattr(module.objective, name).named_parameters()
    assert [part for part, value in learned if torch.equal(value, before[part])] == []


@FOREIGN
@pytest.mark.parametrize("engine", [ard.Distillation, partial(ard.FreeDistillation, replays=1)], ids=["attack", "replays"])
def test_a_method_that_wants_no_teacher_is_handed_none(engine):
    """Though the run has one, which validation asks."""
    teachers = []

    class Alone(PGDAT):
        def forward(self, student, teacher, x, y):
            teachers.append(teacher)
            return super().forward(student, teacher, x, y)

    module = engine(student=Net(), teacher=Net(), objective=Alone(), eps=0.1)
    fitted(module, trainer=plain_trainer(limit_train_batches=1, limit_val_batches=1))
    assert teachers == [None]


def test_a_name_brings_all_that_its_recipe_says():
    net = Net()
    rslad = ard.Distillation(student=net, teacher=net, objective="RSLAD")
    assert isinstance(rslad.objective, RSLAD)
    assert rslad.attack.settings == {
        "steps": 10,
        "start": "gaussian",
        "keep_best": False,
        "step_size": pytest.approx(2 / 255),
    }
    assert ard.Distillation(student=net, objective="pgd_at_ema").training_block.average == 0.9995
    assert ard.Distillation(student=net, objective="pgd-at-awp").weight_perturbation.gamma == 0.01
    assert ard.Distillation(student=net, objective="pgd_at-as-released").attack_mode == "train"
    assert ard.Distillation(student=net, objective="natural").training_block.monitor == "val/clean_acc"
    assert ard.FreeDistillation(student=net, teacher=net, objective="fast_ard").replays == 8


def test_an_objective_brings_its_loss_alone():
    module = ard.Distillation(student=Net(), teacher=Net(), objective=RSLAD())
    assert module.attack.settings["start"] == "uniform"
    assert (module.threat.norm, module.threat.eps) == ("Linf", pytest.approx(8 / 255))


def test_arguments_that_are_given_win():
    training, attack = Training(lr=0.05), partial(PGD, steps=3)
    module = ard.Distillation(
        student=Net(), objective="pgd_at_ema", threat=ard.L2(0.5), attack=attack, training=training, attack_mode="train"
    )
    assert (module.training_block.lr, module.training_block.average) == (0.05, 0.9995)
    assert (module.threat.norm, module.attack.steps, module.attack_mode) == ("L2", 3, "train")


@pytest.mark.parametrize("engine", [ard.Distillation, ard.FreeDistillation])
def test_keys_of_training_win_also_where_they_say_what_is_the_default(engine):
    objective = "pgd_at_ema" if engine is ard.Distillation else "free_at-as-released"
    kept = engine(student=Net(), objective=objective, training=Training()).training_block
    module = engine(student=Net(), objective=objective, training={"average": None, "weight_decay": 0.0})
    assert module.training_block == replace(kept, average=None, weight_decay=0.0)
    with user_error("training: unknown key 'averge'; did you mean 'average'"):
        engine(student=Net(), objective=objective, training={"averge": None})
    with user_error("lr = fast: expected a number"):
        engine(student=Net(), objective=objective, training={"lr": "fast"})


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("Distillation", {"objective": "fast_ard"}, r"free replays: expected ard.FreeDistillation\(objective='fast_ard'"),
        (
            "FreeDistillation",
            {"objective": "rslad"},
            r"no method of free replays: expected ard.Distillation\(objective='rslad'",
        ),
        ("Distillation", {"objective": "rslaad"}, "no such method; did you mean 'rslad'"),
        ("Distillation", {"objective": "rslad", "teacher": None}, "needs a teacher: .*teacher=net"),
        (
            "Distillation",
            {"objective": "mtard"},
            r"one more teacher, natural_teacher, .*MTARD\(natural_teacher=ard.models.Frozen.of",
        ),
        ("Distillation", {"objective": "ard", "eps": 8}, "did you mean 8/255"),
        ("Distillation", {"objective": "ard", "eps": 0.1, "threat": ard.Linf(0.1)}, "expected one of them"),
        ("Distillation", {"objective": "ard", "student": "mobilenet_v3"}, "did you mean 'MobileNetV2'"),
        (
            "Distillation",
            {"objective": "ard", "student": "mobilenet_v2"},
            "makes a network: pass num_classes",
        ),
        ("Distillation", {"objective": "ard", "attack": PGD(ard.Linf(0.1))}, "attack is a PGD: expected what makes an"),
        ("Distillation", {"objective": "ard", "attack": partial(PGD, ball=ard.L2(0.5))}, "attack has a ball of its own"),
        ("Distillation", {"objective": "ard", "attack": False}, "attack is a bool: expected what makes an"),
        ("FreeDistillation", {"objective": "fast_ard", "val_attack": 0}, "val_attack is a int: expected what makes an"),
        ("Distillation", {"objective": "ard", "seed": None}, "seed = None: expected an int, at least 0"),
        ("Distillation", {"objective": "ard", "val_attack": "pgd"}, "val_attack is a str: expected what makes an"),
        ("Distillation", {"objective": "ard", "training": 0.1}, "training = 0.1: expected a Training, or a mapping"),
        ("Distillation", {"objective": "ard", "weight_perturbation": 0.005}, "= 0.005: expected an AWP, such as"),
        ("Distillation", {"objective": "ard", "student": None}, "student = None: expected an nn.Module, what makes one, or"),
        ("Distillation", {"objective": RSLAD}, "objective = <class .*RSLAD'>: expected a name of .* or a method such"),
        ("Distillation", {"objective": "ard", "teacher": 3}, "teacher = 3: expected an nn.Module, what makes one"),
        ("Distillation", {"objective": "ard", "teacher": {}}, "teacher = {}: expected an nn.Module"),
        ("Distillation", {"objective": "ard", "seed": 1.5}, "seed = 1.5: expected an int, at least 0"),
        ("Distillation", {"objective": "ard", "num_classes": "10"}, "num_classes = '10': expected an int"),
        ("Distillation", {"objective": "ard", "num_classes": -1}, "num_classes = -1: expected at least 1"),
        ("FreeDistillation", {"objective": "fast_ard", "replays": 1.5}, "replays = 1.5: expected an int"),
    ],
)
def test_mistakes_are_one_line(engine, options, message):
    with user_error(message):
        getattr(ard, engine)(**{"student": Net(), "teacher": Net(), **options})


@pytest.mark.parametrize("kind", [AKD2, CIARD, IADII, MTARD])
def test_a_second_teacher_may_be_a_network_or_a_file(kind, tmp_path):
    """Frozen as the first one is: in eval mode, no part of the objective, of its checkpoints or of what is optimised."""
    net, path = Net(), tmp_path / "net.safetensors"
    objective = kind(natural_teacher=net)
    assert (type(objective.natural_teacher), objective.natural_teacher.given) == (Frozen, [net])
    assert [*objective.parameters()] == []
    assert kind(natural_teacher=path).natural_teacher.weights == str(path)
    with user_error("teacher 3: expected an nn.Module, a file of weights, or ard.models.Frozen"):
        kind(natural_teacher=3)


def test_the_members_of_an_ensemble_may_be_networks():
    ensemble = Ensemble(members=[Net(), Frozen.of(Net())]).load(num_classes=10, input_shape=(1, 8, 8))
    x = torch.rand(2, 1, 8, 8)
    assert torch.allclose(ensemble(x).exp().sum(dim=1), torch.ones(2))


def test_a_method_around_another_wants_a_method():
    for base in ("ard", RSLAD):
        with user_error(r"base = .*: expected a method, such as RSLAD\(\)"):
            IGDM(base=base)


@FOREIGN
@pytest.mark.parametrize("objective", ["pgd_at", "natural"])
def test_guards_let_a_validation_before_training_be(objective):
    module = ard.Distillation(student=Net(), objective=objective, eps=0.1)
    trainer = plain_trainer(1, callbacks=Guards().callbacks())
    (metrics,) = trainer.validate(module, loader(64, 1), verbose=False)
    assert {"val/clean_acc", "val/robust_acc"} <= metrics.keys()


def test_files_of_weights_may_be_paths(tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(path, Net(), Card(num_classes=10))
    module = ard.Distillation(student=Net(), teacher=path, init=path, objective="rslad", eps=0.1)
    assert (module.teacher.weights, module.start) == (str(path), {str(path): sha256(path)})


def test_names_of_networks_ignore_case_and_underscores():
    module = ard.Distillation(student="mobilenet_v2", objective="pgd_at", num_classes=3)
    assert (type(module.student).__name__, module.num_classes) == ("MobileNetV2", 3)


@FOREIGN
def test_a_method_of_two_teachers_takes_them_as_they_are():
    natural = Net()
    objective = MTARD(natural_teacher=Frozen.of(natural), rate=0.025, mean_over_classes=False)
    fitted(ard.Distillation(student=Net(), teacher=Net(), objective=objective, eps=0.1))


@FOREIGN
def test_a_teacher_that_answers_with_other_classes_is_refused():
    class Other(Net):
        def forward(self, x):
            return super().forward(x)[:, :9]

    with user_error("9 classes, data has 10"):
        fitted(ard.Distillation(student=Net(), teacher=Other(), objective="ard", eps=0.1))
