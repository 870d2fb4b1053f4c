"""The options of `ard evaluate`; imports nothing heavy, so that --help is quick."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ard.artifacts.paths import weights_file
from ard.core.errors import UserError
from ard.core.radius import Radius
from ard.core.user_paths import written_out

if TYPE_CHECKING:
    from ard.artifacts.record import Record
    from ard.attacks import Ball

SUITE_NAMES = ("quick", "standard", "full")
THROUGH_TEACHER = "KL to teacher"  # the attack of the suite full that a teacher is given for


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure; None stands for what the card of the weights says. A run's folder stands for its selected student.

    Args:
        data: a config with a `data:` section; by default what the weights were trained on.
        data_dir: the folder of the images, where they have moved.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        split: images to evaluate on.
        limit: evaluate on this many images, equally many a class, chosen by a fixed seed.
        suite: quick (five short attacks), standard (and AutoAttack) or full (and every check).
        eps: radius such as 8/255; by default the one the weights were trained against.
        norm: by default the one the weights were trained against.
        seed: of the attacks' random starts.
        attacks: more attacks of torchattacks, such as MIFGSM,DIFGSM.
        transfer: weights to attack through, comma-separated (suite full).
        teacher: weights of the teacher, which a student should not surpass; full attacks the distillation loss too.
        temperature: of that loss, beside 1.
        undefended: weights of a network trained on clean images alone, which the attacks must fool.
        published: AutoAttack accuracy that others report for these weights, such as 0.4925.
        additional_data: whether more than the data set was used for training, as far as known.
        shard: k/n judges every n-th block of images; the last of n processes writes the record.
        save_adversarial: keep the worst image of each image, for `ard verify`; of 8 bits as a folder of PNGs.
        eight_bit: attack with images of 8 bits alone, k/255 inside the ball, as a file holds them.
        rehearse: few steps an attack, for `ard study --rehearse` alone.
        replace: overwrite a record that measured more, or otherwise.
        allow_mismatch: allow other classes or sizes than the weights name.
    """

    data: str | None = None
    data_dir: str | None = None
    network: str | None = None
    split: Literal["test", "val"] = "test"
    limit: int | None = None
    suite: str = "quick"
    eps: str | None = None
    norm: Literal["Linf", "L2"] | None = None
    seed: int = 0
    attacks: str = ""
    transfer: str = ""
    teacher: str | None = None
    temperature: float = 1.0
    undefended: str | None = None
    published: float | None = None
    additional_data: bool | None = None
    shard: str | None = None
    save_adversarial: bool = False
    eight_bit: bool = False
    rehearse: bool = False
    replace: bool = False
    allow_mismatch: bool = False

    def check(self) -> None:
        """Raises UserError for options that do not fit one another; imports nothing for it."""
        if self.suite not in SUITE_NAMES:
            raise UserError(f"--suite {self.suite}: expected one of {', '.join(SUITE_NAMES)}")
        if self.split not in ("test", "val"):
            raise UserError(f"--split {self.split}: expected one of test, val")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise UserError(f"--seed {self.seed!r}: expected an int from 0 to {2**32 - 1}")
        _ = self.part
        if self.limit is not None and not hasattr(self.limit, "__index__"):  # in Python nobody has looked yet
            raise UserError(f"limit = {self.limit!r}: expected a whole number")
        for option in ("data", "data_dir", "network", "teacher", "undefended"):
            if getattr(self, option) == "":
                raise UserError(f"--{option.replace('_', '-')} names nothing: expected a value, or leave it out")
        needs = {"transfer": ("full",), "teacher": ("standard", "full"), "published": ("standard", "full")}
        for option, suites in needs.items():
            if getattr(self, option) not in (None, "") and self.suite not in suites:
                raise UserError(f"--{option} has no effect in the suite {self.suite}: add --suite {suites[0]}")
        if not 0 < self.temperature < float("inf") or (self.temperature != 1 and not self.teacher):
            raise UserError(f"--temperature {self.temperature}: expected a number above 0, and a --teacher it belongs to")
        # The other suites compare with the teacher, and attack nothing through it.
        if self.temperature != 1 and self.suite != "full":
            raise UserError(f"--temperature has no effect in the suite {self.suite}: add --suite full")
        if self.published is not None and not 0 <= self.published <= 1:
            raise UserError(f"--published {self.published}: expected a fraction such as 0.4925")
        if self.eps is not None:
            Radius(self.eps)

    def check_ball(self) -> None:
        """Raises UserError for a radius that no ball has; imports torch for it."""
        if self.eps is not None:
            guess = "Linf" if Radius(self.eps) > 4 else "L2"  # the weights may say L2, but no L2 radius in use is that large
            ball_of(self.norm or guess, self.eps)

    def check_attacks(self) -> None:
        """Raises UserError for a name that torchattacks does not have; imports it for that."""
        if names := split_commas(self.attacks):
            from ard.evaluation.library_attacks import library_attack

            for name in names:
                library_attack(name)

    def with_files(self) -> "Request":
        """The same, with the files of weights in place of the folders of runs."""
        transfer = ",".join(map(weights_file, split_commas(self.transfer)))
        teacher, undefended = (path and weights_file(path) for path in (self.teacher, self.undefended))
        return replace(self, transfer=transfer, teacher=teacher, undefended=undefended)

    @property
    def part(self) -> tuple[int, int]:
        """The shard as numbers, (1, 1) where there is one process."""
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard or "1/1")
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {self.shard}: expected k/n with k from 1 to n, such as 1/2")
        return int(match[1]), int(match[2])

    def answered_by(self, record: "Record") -> bool:
        """Whether a record already has what this request asks for, so that it need not be measured again."""
        asked = (self.split, self.limit, self.suite, self.seed)
        return (
            asked == (record.split, record.limit, record.suite, record.seed)
            and {f"torchattacks.{name}" for name in split_commas(self.attacks)} <= {attack.name for attack in record.attacks}
            and self._given_to(record)
            and self._published_as_in(record)
            and self.norm in (None, record.threat.norm)
            and self.rehearse == record.is_rehearsed
            and self.eight_bit == bool(record.threat.eight_bit)
            and (self.eps is None or float(Radius(self.eps)) == record.threat.eps)
        )

    def _given_to(self, record: "Record") -> bool:
        """Whether the record's evaluation had networks where this request names some; their contents are not compared."""
        given = record.given
        transfers = len(split_commas(self.transfer)) <= len(given.transfer or {})
        there = transfers and bool(self.teacher) <= bool(given.teacher) and bool(self.undefended) <= bool(given.undefended)
        losses = {attack.settings.get("loss") for attack in record.attacks if attack.name == THROUGH_TEACHER}
        return there and (not self.teacher or losses <= {teacher_losses(self.temperature)})

    def _published_as_in(self, record: "Record") -> bool:
        """Whether the record was held against this published accuracy, where one is named."""
        if self.published is None or record.autoattack_acc is None:
            return True
        distance = abs(record.autoattack_acc - self.published)
        return any(check.id == "O16" and check.value == distance for check in record.checks)


def teacher_losses(temperature: float) -> str:
    """What the attack through a teacher maximises, as records say it: the KL at temperature 1, and at another one."""
    return f"KL at temperature {' and '.join(f'{t:g}' for t in sorted({1.0, temperature}))}"


def split_commas(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [written_out(part.strip()) for part in text.split(",") if part.strip()]


def ball_of(norm: str, eps: float | str) -> "Ball":
    """The ball of that norm and radius; raises UserError where there is none."""
    from ard.attacks import L2, Linf

    norms: dict[str, type[Linf | L2]] = {"Linf": Linf, "L2": L2}
    if norm not in norms:
        raise UserError(f"norm {norm!r}: expected one of {', '.join(norms)}")
    return norms[norm](eps=Radius(eps))
