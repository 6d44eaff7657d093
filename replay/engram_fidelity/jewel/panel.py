"""The panel: discriminators that try to tell the real network from its student, each in its own way, knowing only the past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.extras import need
from engram_fidelity.jewel.windows import Features, Float, Pairs, count_features, timing_features

_MOST: Final = 8_000
"""Windows that a discriminator is trained on at most; of more, the newest pairs count."""
_DRAWS: Final = 3
"""Draws of the student in each pair that it is trained on."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How real windows look to a discriminator: more is more real."""

    real: Float
    """(window,)"""
    drawn: Float
    """(window, draw)"""

    @property
    def outcomes(self) -> Float:
        """Of each pair, the share of the student's draws that look less real than the network's window, ties as half.

        (window,), from 0 to 1. The mean is the probability of telling real from student in a choice between two, whatever the
        number of draws; with more draws it scatters less, a third as much with many, and as many fewer pairs are needed.
        """
        below, upto = (self.drawn < self.real[:, None]).mean(axis=1), (self.drawn <= self.real[:, None]).mean(axis=1)
        return np.asarray((below + upto) / 2, np.float64)


class Discriminator(Protocol):
    """Whoever can be shown pairs and then say of a window how real it looks."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        ...

    def trained(self, past: list[Pairs], *, seed: int) -> Discriminator:
        """Return the discriminator after it has seen `past`, and nothing else."""
        ...

    def judge(self, pairs: Pairs) -> Scores:
        """Say how real each window of the pairs looks, the network's and the student's."""
        ...


class _Model(Protocol):
    """What is used of a classifier of scikit-learn."""

    def fit(self, features: Float, label: NDArray[np.int64]) -> Self: ...

    def decision_function(self, features: Float) -> Float: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A trained model and the units of its features."""

    model: _Model
    mean: Float
    scale: Float

    def score(self, features: Float) -> Float:
        return np.asarray(self.model.decision_function((features - self.mean) / self.scale), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A classifier of scikit-learn over features of a window, given what the student was expected to do in it."""

    name: str
    features: Features
    kind: str
    """`logistic` or `boosted`."""
    fitted: _Fitted | None = None

    def trained(self, past: list[Pairs], *, seed: int) -> Classifier:
        """Fit to the windows of the past, real and drawn, the newest if there are many."""
        chosen, windows = [], 0
        for pairs in reversed(past):
            chosen.append(pairs)
            windows += len(pairs) * (1 + min(_DRAWS, pairs.student.shape[1]))
            if windows >= _MOST:
                break
        real = np.concatenate([self.features(pairs.real, pairs.expected) for pairs in chosen])
        drawn = np.concatenate(
            [_flat(self.features(pairs.student[:, :_DRAWS], pairs.expected[:, None])) for pairs in chosen]
        )
        seen = np.concatenate([real, drawn])
        mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
        label = np.repeat([1, 0], [len(real), len(drawn)])
        model = _model(self.kind, seed=seed).fit((seen - mean) / scale, label)
        return replace(self, fitted=_Fitted(model, mean, scale))

    def judge(self, pairs: Pairs) -> Scores:
        """Score all windows; without any training, all look alike."""
        if self.fitted is None:
            return Scores(np.zeros(len(pairs)), np.zeros(pairs.student.shape[:2]))
        real = self.fitted.score(self.features(pairs.real, pairs.expected))
        drawn = self.fitted.score(_flat(self.features(pairs.student, pairs.expected[:, None])))
        return Scores(real, drawn.reshape(len(pairs), -1))


def default_panel() -> tuple[Discriminator, ...]:
    """Return a logistic regression that looks at how much, and boosted trees that look at how."""
    return (Classifier("logistic", count_features, "logistic"), Classifier("boosted", timing_features, "boosted"))


def _model(kind: str, *, seed: int) -> _Model:
    if kind == "logistic":
        linear = need("sklearn.linear_model", "certify")
        return cast("_Model", linear.LogisticRegression(C=0.03, max_iter=100))
    ensemble = need("sklearn.ensemble", "certify")
    boosted = ensemble.HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, learning_rate=0.1, min_samples_leaf=40, early_stopping=False, random_state=seed
    )
    return cast("_Model", boosted)


def _flat(features: Float) -> Float:
    return features.reshape(-1, features.shape[-1])
