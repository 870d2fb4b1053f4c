"""How nearly every method trains: an attack, then a step of the optimiser."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from ard.attacks import AttackFactory, Ball
from ard.attacks.attacking import AttackMode
from ard.core.radius import RadiusLike
from ard.core.ranges import of_kind, one_of
from ard.models import Frozen, Network
from ard.objectives.base import Objective
from ard.training.attack_schedule import AttackSchedule
from ard.training.captured import Graphs
from ard.training.engine import Engine
from ard.training.method import Method, frozen_teacher, network_named, threat_of
from ard.training.schedule import Training
from ard.training.step import Attacked, CleanPass, Learned, Taken, as_it_is, attack_batch, learn, show_clean, take
from ard.training.weight_perturbation import AWP


class Distillation(Engine):
    """Every step: the attack maximises the attack loss, then the optimiser minimises the training loss.

    A LightningModule for any trainer, with any loaders of images in [0, 1] and their classes:
    `pl.Trainer(max_epochs=30).fit(Distillation(student=net, teacher=robust, objective="rslad"), train_loader, val_loader)`.

    Args:
        student: The network that is trained: an nn.Module, taken as it is; or what makes one once called with num_classes;
            or the name of one of ard.models, such as "mobilenet_v2".
        objective: A method by its name in `ard list methods`, such as "rslad": it brings all that its recipe says (loss,
            attack, averaging, weight perturbation, attack mode), and every argument that is given wins. An Objective brings
            its loss alone. Fast-ARD and free adversarial training are methods of FreeDistillation.
        teacher: The network that is learned from: an nn.Module, which is frozen as it stands, what makes one, a file of
            weights, or ard.models.Frozen and the like. None for methods without a teacher.
        threat: Which images an attack may choose from, such as ard.Linf(8/255). By default Linf of 8/255.
        eps: A radius, short for threat=ard.Linf(eps).
        attack: Makes the attack of training from the threat: ard.attacks.PGD, or partial(PGD, steps=7). By default the
            recipe's, else PGD of ten steps of eps / 4.
        val_attack: The same for validation, which selects the epoch. By default PGD of ten steps of eps / 4.
        training: Optimiser, schedule, label smoothing, averaging; by default SGD of lr 0.1. Whatever differs from the
            defaults of Training wins over the recipe; {"average": None} sets what it names and nothing else.
        attack_mode: The student's mode while it is attacked, by default eval, or what the recipe says. In train mode
            BatchNorm statistics move.
        clean_pass: When BatchNorm sees the clean images once more, in a forward pass of train mode that changes nothing
            else: after the attack, before or after the passes of the training loss, or after the optimiser's step, as some
            released codes do. By default never, or when the recipe says.
        weight_perturbation: Moves the weights to where the training loss is taken, see AWP; by default the recipe's.
        cuda_graph: Whether attack and training loss are captured as CUDA graphs where that is possible: the same numbers,
            sooner.
        init: A file of weights that the student starts from.
        num_classes: Number of classes. Needed where student or teacher are still to be made; else the student is asked.
        seed: Of the first weights of a student that is made here, and of every random draw in training.

    Raises:
        UserError: For names that are none, a missing teacher, a method of FreeDistillation.
    """

    attack_batch: Callable[..., Attacked]
    learn: Callable[..., Learned]
    taken: Taken | None = None  # the step under way, until its weights are restored

    def __init__(
        self,
        *,
        student: nn.Module | Network | str,
        objective: Objective | str,
        teacher: Frozen | nn.Module | Network | str | Path | None = None,
        threat: Ball | None = None,
        eps: RadiusLike | None = None,
        attack: AttackFactory | None = None,
        val_attack: AttackFactory | None = None,
        training: Training | Mapping[str, Any] | None = None,
        attack_mode: AttackMode | None = None,
        clean_pass: CleanPass | None = None,
        weight_perturbation: AWP | None = None,
        cuda_graph: bool = True,
        init: str | Path | None = None,
        num_classes: int | None = None,
        seed: int = 0,
    ) -> None:
        method = Method.of(objective, type(self))
        super().__init__(
            student=network_named(student),
            objective=method.objective,
            threat=threat_of(threat, eps),
            attack=(make := method.attack if attack is None else attack),
            val_attack=Method.attack if val_attack is None else val_attack,
            training=method.training_with(training),
            teacher=frozen_teacher(teacher, num_classes),
            attack_mode=attack_mode or method.attack_mode,
            init=init,
            num_classes=num_classes,
            seed=seed,
        )
        self.augmented_by, self.clean_pass = method.data, clean_pass or method.clean_pass
        one_of(CleanPass, clean_pass=self.clean_pass)
        of_kind(AWP, "an AWP, such as AWP(gamma=0.005)", weight_perturbation=weight_perturbation)
        self.attacks = AttackSchedule(make, self.threat, self.attack, self.training_block.first_steps)
        self.weight_perturbation, self.cuda_graph = weight_perturbation or method.weight_perturbation, cuda_graph
        self.in_optimizer_step, self.clean_batches = False, list[Tensor]()  # these are shown to BatchNorm after the step
        self.attack_batch, self.learn = attack_batch, learn

    @classmethod
    def from_config(
        cls,
        *,
        student: Network,
        objective: Objective,
        threat: Ball,
        attack: AttackFactory,
        val_attack: AttackFactory,
        training: Training,
        teacher: Frozen | None = None,
        attack_mode: AttackMode = "eval",
        clean_pass: CleanPass | None = None,
        weight_perturbation: AWP | None = None,
        cuda_graph: bool = True,
        init: str | None = None,
        num_classes: int = 10,
        seed: int = 0,
    ) -> Self:
        """As a config says it, which names every part; arguments as of the constructor."""
        return cls(
            student=student,
            objective=objective,
            threat=threat,
            attack=attack,
            val_attack=val_attack,
            training=training,
            teacher=teacher,
            attack_mode=attack_mode,
            clean_pass=clean_pass,
            weight_perturbation=weight_perturbation,
            cuda_graph=cuda_graph,
            init=init,
            num_classes=num_classes,
            seed=seed,
        )

    def on_fit_start(self) -> None:
        if self.cuda_graph:
            graphs = Graphs()
            self.attack_batch, self.learn = graphs, graphs.learn

    def on_fit_end(self) -> None:
        self.attack_batch, self.learn = attack_batch, learn  # the graphs' memory is free again

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = self.images(batch, batch_idx)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)  # of float16
        self.taken = take(
            self.student,
            self.objective.wanted_teacher(self.teacher),
            self.objective,
            self.attacks(self.ball, self.attack_steps),
            x,
            y,
            self.next_step(batch_idx),
            generator=self.generator("attack", batch_idx),
            mode=self.attack_mode,
            clean_pass=self.clean_pass,
            weight_perturbation=self.weight_perturbation,
            scaled=as_it_is if scaler is None else scaler.scale,
            watch=self.timer.attack(),
            attack_batch=self.attack_batch,
            learn=self.learn,
        )
        self.terms = self.taken.terms
        if self.clean_pass == "after_step":
            self.clean_batches.append(x)
        self.report(self.terms, self.taken.answers, y)
        return self.taken.loss

    def on_after_backward(self) -> None:
        moved = self.weight_perturbation
        # With gradient accumulation the next batch starts from the unmoved weights, too.
        if moved is None or moved.restore == "before_step" or not self.in_optimizer_step:
            self._restore_weights()

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._restore_weights()  # of a batch without a backward pass, as Lightning's averaging of weights ends with
        super().on_train_batch_end(outputs, batch, batch_idx)

    def _restore_weights(self) -> None:
        if self.taken is not None:
            self.taken.undo()
            self.taken = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.in_optimizer_step = True
        try:
            super().optimizer_step(*args, **kwargs)  # runs training_step; a checkpoint of this step must hold what follows
        finally:
            self.in_optimizer_step = False
            self._restore_weights()
        self._run_clean_pass()
        self.after_step()

    def _run_clean_pass(self) -> None:
        """The clean images of all batches of this step, to BatchNorm; none of a step that was left out."""
        if not self.skipped:
            with self.trainer.precision_plugin.train_step_context():
                for x in self.clean_batches:
                    show_clean(self.student, x)
        self.clean_batches.clear()
