"""Attack and training loss as CUDA graphs that are replayed; what no graph can hold runs as before."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from ard.attacks import Attack, attacking
from ard.attacks.attacking import AttackMode
from ard.losses import AttackLoss, Loss
from ard.models import Cached, Frozen
from ard.objectives.base import Objective, Step
from ard.training.callbacks.ranks import is_first
from ard.training.captured_loss import CapturedLoss
from ard.training.recording import Recorder, cause, cuda_graph, without_cached_casts
from ard.training.step import Attacked, Learned, attack_batch, learn, unattacked

MOST = 4  # captures for one radius and number of steps; each keeps the memory of one step
CHANGED = f"batches, weights or settings changed {MOST} times"
CONSTANT = {"eps", "label_smoothing"}  # of a step, as long as the graph is the same
SCALARS = {bool, int, float, str, type(None)}


class Graphs:
    """Gives what training.step.attack_batch gives, on CUDA from a graph that is replayed after one eager step.

    Captured are the objective's body with its teachers, the folding of the student and every step of the attack. The start
    is drawn outside and copied in; weights are read where they lie, so a replay sees what the optimiser did to them. The
    training loss closes over the graph's own tensors; `learn` captures it with its gradients, as a graph of its own. Where a
    shape changes, the place of a weight or whether it learns, a setting, the radius, the number of the attack's steps or the
    precision, there is another eager step and another capture.

    Attributes:
        reason: Why nothing is captured any more, said once; None as long as something may be.
        training_reason: Why the training loss is not; None as long as it may be.
    """

    def __init__(self, record: Recorder = cuda_graph, device_type: str = "cuda") -> None:
        self.record, self.device_type = record, device_type
        self.reason: str | None = None
        self.training_reason: str | None = None
        self.captures = 0
        self._now: Captured | None = None  # what this step's attack was replayed from
        self._read: set[str] = set()  # of a step by the training loss
        self._state: Any = None
        self._scheduled = (0.0, 0)  # radius and steps of the attack
        self._points: dict[Any, int] = {}  # by shapes, after their eager step: points searched for an image; 0: none drawn
        self._held: dict[Any, Captured] = {}

    def __call__(
        self,
        student: nn.Module,
        teacher: Any,
        objective: Objective,
        attack: Any,
        x: Tensor,
        y: Tensor,
        step: Step,
        generator: torch.Generator,
        mode: AttackMode = "eval",
    ) -> Attacked:
        parts, self._now = (student, teacher, objective, attack), None
        if attack is unattacked:  # there is nothing to replay as long as the radius is 0
            return attack_batch(*parts, x, y, step, generator, mode)
        possible = x.device.type == self.device_type and _get_current_dispatch_mode() is None  # that would see no kernel
        if not possible or self.reason is not None or not self._may(teacher, mode):
            return attack_batch(*parts, x, y, step, generator, mode)
        self._follow((_state(self.device_type, *parts), step.label_smoothing), (step.eps, attack.steps))
        key = _look(x), _look(y)
        if self.captures > MOST:  # such as of a network that counts its calls
            self._refuse(CHANGED)
            return attack_batch(*parts, x, y, step, generator)
        if key not in self._points:
            return self._eager(key, *parts, x, y, step, generator)
        if key not in self._held and not self._capture(key, *parts, x, y, generator):
            return attack_batch(*parts, x, y, step, generator)
        objective.begin(step)
        self._now = self._held[key]
        return self._now(x, y, generator)

    def learn(self, student: nn.Module, objective: Objective, attacked: Attacked, step: Step) -> Learned:
        """What training.step.learn gives; the terms know their gradients already, each counting once in the sum."""
        now = self._now
        if now is None or self.training_reason is not None:
            return self._watched_learn(student, objective, attacked, step)
        if now.lesson is None:
            self.training_reason = self._obstacle(student)
            try:
                now.lesson = None if self.training_reason else CapturedLoss(self.record, student, objective, attacked)
            except RuntimeError as error:
                self.training_reason = cause(error)
                if isinstance(error, torch.OutOfMemoryError):  # the attack's graph holds what the loss needs
                    self._refuse(self.training_reason)
            if now.lesson is None:
                self._warn(f"the training loss is not captured as a CUDA graph: {self.training_reason}")
                self._now = None
                del now  # where memory ran out, the last that holds the attack's graph, whose memory this pass needs
                return learn(student, objective, attacked, step)
        return now.lesson()

    def _watched_learn(self, student: nn.Module, objective: Objective, attacked: Attacked, step: Step) -> Learned:
        watched: Any = _Watched(step)
        objective.begin(watched)
        learned = learn(student, objective, attacked, step)
        objective.begin(step)
        self._read |= watched.read - CONSTANT
        return learned

    def _obstacle(self, student: nn.Module) -> str | None:
        """Why a training loss that attacks as this one does cannot be a graph."""
        kind = self.device_type
        if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
            return "its gradients are scaled in float16"
        if any(isinstance(part, nn.SyncBatchNorm) for part in student.modules()):
            return "its BatchNorm waits for other devices"
        return f"it reads {', '.join(sorted(self._read))} of each step" if self._read else None

    def _may(self, teacher: Any, mode: str) -> bool:
        if mode == "train":
            return self._refuse("the student is attacked in train mode")
        return not isinstance(teacher, Cached) or self._refuse("the teacher looks its logits up in a file")

    def _refuse(self, reason: str, *, say: bool = True) -> bool:
        self.reason = reason
        self._held.clear()
        if say:
            self._warn(f"the attack is not captured as a CUDA graph, which would be faster: {reason}")
        return False

    @staticmethod
    def _warn(line: str) -> None:
        if is_first():
            warnings.warn(line, stacklevel=1)

    def _follow(self, state: Any, scheduled: tuple[float, int]) -> None:
        if scheduled != self._scheduled:
            self._scheduled, self.captures = scheduled, 0  # what grows is no reason to give up: its graphs take turns
        if (state, scheduled) != self._state:
            self._state = state, scheduled
            self.captures += bool(self._points and not self._held)  # an eager step, after which no capture came
            self._points.clear()
            self._held.clear()
            self._read.clear()

    def _eager(self, key: Any, *arguments: Any) -> Attacked:
        """The step in which folding is verified and cuDNN chooses, and in which the objective shows what it needs."""
        student, teacher, objective, attack, x, y, step, generator = arguments
        watched: Any = _Watched(step)
        found = attack_batch(student, teacher, objective, attack, x, y, watched, generator)
        objective.begin(step)
        name, loss = type(objective).__name__, found.attack_loss
        self._points[key] = 0 if isinstance(loss, AttackLoss) and loss.start is not None else _points(loss, x)
        if loss is None:
            self._refuse(f"{name} attacks nothing", say=False)
        elif read := watched.read - CONSTANT:
            self._refuse(f"{name} reads {', '.join(sorted(read))} of each step for its attack")
        elif not torch.equal(AttackLoss.centre_of(loss, x), torch.cat([x] * _points(loss, x))):
            self._refuse(f"{name} searches around other images than the batch's")
        return found

    def _capture(self, key: Any, *arguments: Any) -> bool:
        self.captures += 1
        if self.captures > MOST:
            return self._refuse(CHANGED)
        try:
            self._held[key] = Captured(self.record, self._points[key], *arguments)
        except RuntimeError as error:
            return self._refuse(cause(error))
        return True


class Captured:
    """One attack at fixed addresses: called with a batch, it copies that there and replays."""

    def __init__(self, record: Recorder, points: int, *arguments: Any) -> None:
        student, teacher, objective, attack, x, y, generator = arguments
        self.attack, self.points = attack, points
        self.lesson: CapturedLoss | None = None
        self.x, self.y, self.start = x.clone(), y.clone(), self._drawn(x, generator.clone_state())

        def run() -> Attacked:
            attack_loss, training_loss = objective(student, teacher, self.x, self.y)
            x_adv = attack(AttackLoss.of(attack_loss, start=self.start), self.x, generator)
            return Attacked(attack_loss, training_loss, x_adv)

        with attacking(student, objective), without_cached_casts():
            self.found, self.replay = record(run)

    def __call__(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Attacked:
        self.x.copy_(x)
        self.y.copy_(y)
        if self.start is not None:
            self.start.copy_(self._drawn(x, generator))  # type: ignore[arg-type]
        self.replay()
        return self.found

    def _drawn(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        return self.attack.begin(torch.cat([x] * self.points), generator).clone() if self.points else None


class _Watched:
    """A step that knows what of it was read."""

    def __init__(self, step: Step) -> None:
        self._step, self.read = step, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._step, name)


def _points(loss: Loss | None, x: Tensor) -> int:
    """How many points are searched for each image."""
    return len(AttackLoss.centre_of(loss, x)) // len(x)


def _look(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype


def _state(device_type: str, student: nn.Module, teacher: Any, objective: Objective, attack: Attack) -> tuple[Any, ...]:
    """What a graph holds fast and an eager step would read anew: where each tensor lies, whether it learns, plain settings
    (those of networks too, such as the rate of a dropout), the precision.
    """
    roots = [root for root in (student, teacher, objective) if isinstance(root, nn.Module)]
    parts = [part for root in roots for part in root.modules()]
    parts += [part for one in parts if isinstance(one, Frozen) for net in one.networks for part in net.modules()]
    tensors = [value for part in parts for held in (part._parameters, part._buffers) for value in held.values()]
    values = [item for owner in (*objective.parts(), attack, attack.ball) for item in vars(owner).items()]
    tensors += [value for _, value in values if isinstance(value, Tensor)]
    places = tuple((tensor.data_ptr(), tensor.requires_grad) for tensor in tensors if tensor is not None)
    settings = repr([item for item in values if _is_plain(item[1])])
    return places, settings, _settings(parts), torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)


def _settings(networks: list[nn.Module]) -> list[Any]:
    """Plain values of all layers; asked at every step, so that most are taken without a look inside or a text."""
    found: list[Any] = []
    for layer in networks:
        for name, value in vars(layer).items():
            if name.startswith("_"):
                continue
            if type(value) in SCALARS or (type(value) is tuple and SCALARS.issuperset(map(type, value))):
                found.append(value)
            elif _is_plain(value):
                found.append(repr(value))  # a list or a dict may change in place
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_plain([*value, *value.values()])
    if isinstance(value, list | tuple | set):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str | None)
