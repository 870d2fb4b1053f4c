"""The engine, which both ways of training share: parts, optimiser, validation, averaging."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import AttackFactory, Ball, frozen_mode
from ard.attacks.attacking import AttackMode
from ard.core.errors import UserError
from ard.core.modes import held_in_eval
from ard.core.pixels import check_batch, check_known
from ard.core.randomness import key_seed, keyed_generator
from ard.core.ranges import one_of
from ard.data import DataModule
from ard.data.foreign import ForeignData
from ard.data.loading import Loader, fingerprint
from ard.models import Cached, Frozen, Network
from ard.objectives.base import Objective, RunFacts, Step
from ard.objectives.returned import total_loss
from ard.training import fit_checks
from ard.training.attack_schedule import attack_of
from ard.training.explained import check_gradients
from ard.training.given_student import class_count, reads_channels_last, student_factory
from ard.training.run_length import UNENDING, RunLength
from ard.training.schedule import Training
from ard.training.starting_weights import only_what_learns_moves, start_from
from ard.training.step import accuracy
from ard.training.step_timer import StepTimer
from ard.training.validation import Validated
from ard.training.weight_perturbation import AWP


class Engine(Validated, RunLength):
    """A student, an objective, a threat, attacks for training and for validation, and perhaps a teacher: all complete.

    Args:
        student: The network that is trained: itself, or what makes it once called with num_classes.
        objective: The method: what the attack maximises, and what the optimiser minimises.
        threat: Which images an attack may choose from.
        attack: Makes the attack of training, given the threat.
        val_attack: Makes that of validation.
        training: Optimiser, schedule, averaging, and the metric that selects the epoch.
        teacher: The network that is learned from; None for methods without one.
        attack_mode: The student's mode while it is attacked: eval, or train as some released codes do, which moves
            BatchNorm statistics.
        init: A file of weights that the student starts from; its last layer may be for other classes. Of a pruned file
            every zero stays one.
        num_classes: Number of classes; of a student that is a network already, None asks it.
        seed: Of the student's first weights and of every random draw in training.
    """

    fitted_before = False  # whether the method has begun with this student
    replays = 0  # how often each batch is used, where that takes the place of an attack
    weight_perturbation: AWP | None = None
    cuda_graph = False

    def __init__(
        self,
        *,
        student: nn.Module | Network,
        objective: Objective,
        threat: Ball,
        attack: AttackFactory,
        val_attack: AttackFactory,
        training: Training,
        teacher: Frozen | None = None,
        attack_mode: AttackMode = "eval",
        init: str | Path | None = None,
        num_classes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        one_of(AttackMode, attack_mode=attack_mode)
        fit_checks.check_numbers(student, num_classes, seed)
        with torch.random.fork_rng([]):
            torch.manual_seed(key_seed("student", seed))  # the same start for every method of a study
            make = student_factory(student)
            self.in_usual_format = isinstance(student, nn.Module)  # it may call `view`
            self.student = student if isinstance(student, nn.Module) else make(num_classes=num_classes)
            objective.build_all(student=make, num_classes=num_classes or 0)
        self.objective, self.training_block, self.teacher = objective, training, teacher
        self.threat = threat
        self.attack, self.val_attack = attack_of(attack, threat, "attack"), attack_of(val_attack, threat, "val_attack")
        self.attack_mode, self.num_classes, self.seed = attack_mode, num_classes or 0, seed  # 0: to be asked of the student
        if objective.needs_teacher and teacher is None:
            raise UserError(
                f"{type(objective).__name__} needs a teacher: add --model.teacher.weights FILE, or in Python teacher=net"
            )
        self.start, self.pruned, self.learned_before = start_from(init, self.student)
        self.average = training.averaged(self.student)
        self.foreign, self.timer = ForeignData(), StepTimer()
        self.augmented_by: dict[str, Any] = {}  # what a method that was named says of its images
        self.terms: dict[str, Tensor] = {}  # of the step under way
        self.measured: dict[str, Tensor] = {}  # the same two numbers for every method, of the step under way
        self.held_in_eval = set[str]()  # parts of the student that their owner keeps from learning statistics
        self.skipped = False  # a guard took the gradients of the step under way, whose terms say nothing

    @property
    def data(self) -> DataModule | ForeignData:
        """The run's data, which also knows how to augment a batch."""
        module = self.trainer.datamodule  # type: ignore[attr-defined]
        return module if isinstance(module, DataModule) else self.foreign

    @property
    def ball(self) -> Ball:
        """The threat of the epoch under way: as `eps_ramp` has it, else the whole one."""
        if self.training_block.eps_ramp is None:
            return self.threat
        done = (self.trainer.current_epoch + 1) * self.steps_per_epoch / self.optimizer_steps
        return self.threat.scaled(self.training_block.radius_share(done))

    @property
    def attack_steps(self) -> int | None:
        """How many steps the attack takes in the epoch under way, as `first_steps` has it; None: as many as it has."""
        if self.training_block.first_steps is None:
            return None
        begun = self.trainer.current_epoch * self.steps_per_epoch / self.optimizer_steps
        return self.training_block.attack_steps(begun, self.attack.steps)

    @property
    def selected(self) -> nn.Module:
        """The network that is validated, selected and shipped: the average where there is one."""
        return self.student if self.average is None else self.average.module

    def setup(self, stage: str) -> None:
        fit_checks.check_precision(self.trainer)
        if stage != "fit":
            return
        self.forget_length()  # of another trainer
        if isinstance(self.data, ForeignData):
            self.data.look(self.trainer)
        if self.batches_per_epoch >= UNENDING:
            fit_checks.check_length_known(self.objective, self.training_block)
        fit_checks.check_augmentation(self.objective, self.data, self.augmented_by)
        fit_checks.check_accumulation(self.objective, self.trainer)
        given = [one.given for teacher in self.teachers().values() for one in teacher.single_teachers]
        fit_checks.check_networks(self.student, chain.from_iterable(given))
        if self.student.training:  # else it was used since the last fit, and what was held is not seen
            held = held_in_eval(self.student)
            self.held_in_eval = set(held)
            fit_checks.tell_held_in_eval(held.values())
        fit_checks.check_own(self.objective, self)
        self.choose_memory_format(self.data.input_shape)
        self.num_classes = class_count(self.student, self.data.input_shape, self.num_classes or self.data.num_classes)
        self._try_student()
        if isinstance(self.data, DataModule):  # all at once: a batch may be hours away
            check_known(self.data.training_labels, self.num_classes, self.objective.labels)
        for place, teacher in self.teachers().items():
            option = f"--model.{place}.weights".replace(".init_args", "")
            teacher.load(num_classes=self.num_classes, input_shape=self.data.input_shape, option=option).to(self.device)
        if isinstance(self.teacher, Cached):
            self._remember(self.teacher)
        self._setup_objective()

    def _setup_objective(self) -> None:
        shapes = fit_checks.state_shapes(self.objective)
        self.objective.setup_all(
            RunFacts(
                student=self.student,
                teacher=self.teacher,
                num_classes=self.num_classes,
                image_count=self.data.image_count,
                image_shape=self.data.input_shape,
                threat=self.threat,
                max_epochs=self.epochs,
                batches=self.batches_per_epoch,
                fitted_before=self.fitted_before,
            )
        )
        fit_checks.check_averaging(self.objective, self.trainer, shapes)
        self.fitted_before = True
        fit_checks.now_owned(self.objective, self)

    def _try_student(self) -> None:
        if not any(isinstance(part, nn.SyncBatchNorm) for part in self.student.modules()):  # that wants a GPU in train mode
            share = max(1, self.data.batch_size // self.trainer.world_size)
            check_gradients(self.student, self.data.input_shape, min(2, share), together=False)

    def choose_memory_format(self, input_shape: tuple[int, ...]) -> None:
        """Bring the student into the memory format in which it reads images of this shape."""
        if not self.in_usual_format:
            self.in_usual_format = False in {reads_channels_last(net, input_shape) for net in {self.student, self.selected}}

    def _remember(self, teacher: Cached) -> None:
        if not isinstance(self.data, DataModule) or self.data.additional:
            raise UserError("ard.models.Cached knows images by their place in one data set: expected ard.models.Frozen")
        images, views = self.data.splits[0], self.data.view_count
        about = self.data.input_shape, self.data.padding_mode, fingerprint(images)
        teacher.remember(labels=images.labels, views=views, num_classes=self.num_classes, about=about)

    def teachers(self) -> dict[str, Frozen]:
        """The teacher and those of the objective, by their key in the config."""
        parts = [(f"objective.{name}".replace(".", ".init_args."), part) for name, part in self.objective.named_modules()]
        return {place: part for place, part in [("teacher", self.teacher), *parts] if isinstance(part, Frozen)}

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file that teachers and start were read from, by its path."""
        return {path: digest for one in self.teachers().values() for path, digest in one.files.items()} | self.start

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(self.student.parameters())}, *self.objective.param_groups_all()]
        optimizer = self.training_block.make_optimizer(groups)
        scheduler = self.training_block.scheduler(optimizer, self.optimizer_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        # Here and not at the epoch's start: Lightning skips that hook when it resumes, and keeps modules in eval mode.
        if not self.student.training:
            self.student.train()
            for name, module in self.student.named_modules():
                module.training = name not in self.held_in_eval and module.training
        self.objective.train()
        self.lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.timer.begin(self.device, exact=batch_idx % max(1, self.trainer.log_every_n_steps) == 0)  # type: ignore[attr-defined]
        if batch_idx == 0:
            fit_checks.check_epoch_length(self.trainer, self.batches_per_epoch, str(self.training_block.schedule))
            check_batch(*self.received(batch, batch_idx), num_classes=self.num_classes, labels=self.objective.labels)
        torch.manual_seed(key_seed("dropout", *self.step_key(batch_idx)))

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        if self.timer.exact:
            self.log_dict(self.timer.figures(len(batch[1]) * self.trainer.world_size))

    def step_key(self, batch_idx: int) -> tuple[int, int, int, int]:
        """The key of every random draw of a training step."""
        return self.seed, self.trainer.current_epoch, batch_idx, self.global_rank

    def next_step(self, batch_idx: int) -> Step:
        """The step that the objective is given before this batch."""
        return Step(
            epoch=self.trainer.current_epoch,
            batch=batch_idx,
            progress=self.trainer.global_step / self.optimizer_steps,
            lr_factor=self.trainer.optimizers[0].param_groups[0]["lr"] / self.training_block.lr,
            eps=self.ball.eps,
            label_smoothing=self.training_block.label_smoothing,
            generator=self.generator("objective", batch_idx),
            image_indices=self.data.image_indices(batch_idx) if isinstance(self.trainer.train_dataloader, Loader) else None,
        )

    def received(self, batch: Any, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Pixels and labels of a batch; for a student that calls `view`, or may, in the usual memory format."""
        x, y = self.data.received(batch, batch_idx)
        return x.contiguous() if self.in_usual_format else x, y

    def images(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """The batch, augmented and mixed for this step; a teacher that stores its logits is given the views."""
        x, y = self.received(batch, batch_idx)
        x = self.data.augment(x, self._views(batch_idx))
        if isinstance(self.teacher, Cached) and isinstance(self.data, DataModule):
            self.teacher.expect(x, self.data.image_indices(batch_idx), self.data.views(len(y), self._views(batch_idx)))
        return self.data.mix(x, y, keyed_generator("cpu", "cutmix", *self.step_key(batch_idx)))

    def _views(self, batch_idx: int) -> torch.Generator:
        """Of augmentation, on the CPU: the same crops on every device, and nobody waits to know them."""
        return keyed_generator("cpu", "augmentation", *self.step_key(batch_idx))

    def generator(self, purpose: str, batch_idx: int) -> torch.Generator:
        """The generator of one purpose in one step."""
        return keyed_generator(self.device, purpose, *self.step_key(batch_idx))

    def report(self, terms: dict[str, Tensor], answers: Tensor | None, y: Tensor) -> None:
        """Log the learning rate, a step's terms, their sum, the accuracy of its answers, the objective's diagnostics."""
        self.measured = {"loss": total_loss(terms).detach()}
        if answers is not None:
            self.measured["robust_acc"] = accuracy(answers, y)
        if not (self.trainer._logger_connector.should_update_logs or self.trainer.is_last_batch):
            return  # nobody would see them, and Lightning takes its time for each
        values = terms | self.objective.diagnostics_all() | self.measured
        train = {f"train/{name}": value.detach() for name, value in values.items() if value.ndim == 0}
        self.log_dict({"lr": torch.full((), self.lr, device=self.device)} | train)  # a plain number would wait for the GPU

    def after_step(self) -> None:
        """After every optimiser step: the objective moves its state, equal on all ranks; the average follows the student."""
        if self.skipped:
            return
        if self.objective.moves_after_step:
            terms = {name: self.reduced(term.detach().clone()) for name, term in self.terms.items()}
            with only_what_learns_moves(self.student), frozen_mode(self.student):
                self.objective.after_step_all(terms, self.student)
        if self.average is not None:
            self.average.update_parameters(self.student)

    def on_train_epoch_end(self) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]  # of the next epoch already
        self.objective.begin(replace(self.objective.step, next_lr_factor=rate / self.training_block.lr))
        self.objective.on_epoch_end_all()
        self.share_buffers()  # once more: an epoch may end without validation
