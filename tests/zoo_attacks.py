"""Attacks that are broken on purpose, and the checks that must find each out."""

import copy

import torch
from zoo import WIDE, Subject, undefended

from ard.attacks import PGD
from ard.evaluation.suites import Given


def in_another_ball(change):
    """PGD and FGSM in a ball that is not what it says: `change` sets about a copy of it."""

    def broken(kind):
        class Broken(kind):
            def __init__(self, ball, **options):
                super().__init__(ball, **options)
                self.ball = copy.copy(ball)
                change(self.ball)

        return Broken

    return broken


def downhill(ball):
    ball.steepest = lambda gradient: -gradient.sign()


def the_same_way(ball):
    """A chessboard, whatever the gradient: random signs would be the very noise that is to fell more than they."""
    ball.steepest = chessboard


def chessboard(gradient):
    signs = torch.ones_like(gradient)
    signs[..., ::2, :] *= -1
    signs[..., ::2] *= -1
    return signs


def raw(ball):
    ball.steepest = lambda gradient: gradient


def unprojected(ball):
    ball.project = lambda x_adv, _: x_adv


def unclamped(ball):
    ball.project = lambda x_adv, x: x + ball.shrink(x_adv - x)


def smaller(times):
    def change(ball):
        ball.eps = ball.eps / 255**times

    return change


def steps_of(size):
    """Steps of a size that knows nothing of eps, from the image itself."""

    def broken(kind):
        class Broken(kind):
            def __init__(self, ball, **options):
                super().__init__(ball, **options)
                if kind is PGD:  # FGSM is one step of eps
                    self.step_size, self.start = size, "zero"

        return Broken

    return broken


def with_control():
    return Given(undefended=undefended())


ATTACKS = {
    "sign flipped": Subject(
        finds="O6 O7 O10 O12 O15", attack=in_another_ball(downhill), given=with_control, suite="own", ball=WIDE
    ),
    "deaf to the gradient": Subject(finds="O6 O7 O10", attack=in_another_ball(the_same_way), suite="own", ball=WIDE),
    "sign forgotten": Subject(finds="O14", attack=in_another_ball(raw), suite="own"),
    "not projected": Subject(finds="V1", attack=in_another_ball(unprojected)),
    "not clamped": Subject(finds="V2", attack=in_another_ball(unclamped)),
    "eps / 255": Subject(finds="V4 O10", attack=in_another_ball(smaller(1))),
    "eps / 255 / 255": Subject(finds="V4 O10", attack=in_another_ball(smaller(2))),
    "eps / 255 / 255 beside sound attacks": Subject(
        finds="O6 O7 O10", attack=in_another_ball(smaller(2)), suite="own", ball=WIDE
    ),
    "tiny steps from the image": Subject(finds="O1 O2 O10", attack=steps_of(1e-3), suite="own"),
}
