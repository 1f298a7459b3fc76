"""Fit the probe that ``lightbsr infer --show-degradation`` uses: a linear map from a representation to a quantity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.weights.degradation_probe import TOGETHER, DegradationProbe, Reading
from lightbsr_arch.weights.probe_inverse import ProbeInverse
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.base import Degradation, as_batch, in_float32
from lightbsr_model.evaluation.analysis.probing import split_images
from lightbsr_model.evaluation.plotting import require

LEAST_R2 = 0.5
"""R^2 on unseen images below which a reading would be misleading and is not stored."""

_DRAWS = 16
"""Number of degradations drawn per image."""

_MOST = 4000
"""Number of samples, about, at which fewer are drawn per image."""

_PATCH = 192
"""Largest side of the patch that is cut from an image per draw, in HR pixels."""

_SEEN = 0.6
"""Share of the images that the probe is fitted on."""


def degradation_of(setting: str) -> Degradation:
    """The degradation that a model card's setting names: a preset, perhaps ``with`` overrides as JSON.

    Raises:
        OptionError: It names no degradation.
    """
    preset, _, overrides = setting.partition(" with ")
    try:
        return get_degradation(preset, json.loads(overrides) if overrides else None)
    except ValueError as error:
        raise OptionError(
            f"setting {setting!r}: names no degradation to fit a probe for ({error}); give --setting."
        ) from error


def fit_probe(net: Any, setting: str, images: str, seed: int = 0, test_images: str | None = None) -> DegradationProbe:
    """Fit linear probes that predict the degradation from a network's representation, and keep the accurate ones.

    Args:
        net: A student of any method, in evaluation mode.
        setting: The degradations that it was trained for, see :func:`degradation_of`.
        images: Folder or LMDB of HR images, or ``bundled``; at least four, preferably not used in training.
        seed: Seed of the draws and of the split of the images.
        test_images: Others, which the network was not trained on: the probe is fitted on all of ``images``, which may then
            be the network's own, and its errors are those on these. None splits ``images``.

    Returns:
        Readings of what varies in the setting (:meth:`Degradation.quantities`), as far as their R^2 on unseen images
        is at least ``LEAST_R2``; both of a pair or none. And their inverse.

    Raises:
        OptionError: The network makes no representation, no probe is accurate enough, there are too few images, or
            scikit-learn is not installed.
    """
    if not callable(getattr(net, "represent", None)):
        raise OptionError(
            f"--probe: {type(net).__name__} makes no representation of the degradation: leave out --probe."
        )
    degradation = degradation_of(setting)
    quantities = degradation.quantities()
    names = list(quantities)
    if not names:
        raise OptionError(f"--probe: nothing varies in setting {setting}, there is nothing to read: leave out --probe.")
    generator = torch.Generator().manual_seed(seed)
    count, vectors, values, image = _coded(net, degradation, images, "--probe", generator)
    if test_images is None:
        seen = np.isin(image, split_images(count, _SEEN, seed)[0])
    else:
        _, others, their_values, _ = _coded(net, degradation, test_images, "--probe-test", generator)
        seen = np.arange(len(vectors) + len(others)) < len(vectors)
        vectors, values = np.concatenate([vectors, others]), np.concatenate([values, their_values])
    readings = {name: _fit(vectors, values[:, column], image, seen) for column, name in enumerate(names)}
    good = {name: reading for name, reading in readings.items() if reading.r2 >= LEAST_R2}
    for pair in TOGETHER:
        if not all(name in good for name in pair):
            good = {name: reading for name, reading in good.items() if name not in pair}
    if not good:
        found = ", ".join(f"{name} {reading.r2:.2f}" for name, reading in readings.items())
        raise OptionError(
            f"--probe: the degradation of unseen images cannot be predicted from the representation (R^2: {found}; at least "
            f"{LEAST_R2} is needed). No probe is stored: leave out --probe."
        )
    columns = [names.index(name) for name in good]
    inverse = ProbeInverse.fit({name: quantities[name] for name in good}, values[seen][:, columns], vectors[seen])
    return DegradationProbe(good, inverse)


def _coded(
    net: Any, degradation: Degradation, images: str, flag: str, generator: torch.Generator
) -> tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Number of images, and the representation of each sample, its quantities and its image."""
    reader = open_all(images)
    if len(reader) < 4:
        raise OptionError(f"{flag} {images}: expected at least 4 images, some of them to test on; got {len(reader)}.")
    vectors, targets, image = [], [], []
    for number in range(len(reader)):
        gt = torch.from_numpy(reader.read(number).transpose(2, 0, 1).copy())
        for lq, target in _samples(gt, degradation, net.scale, generator, max(1, min(_DRAWS, _MOST // len(reader)))):
            with torch.inference_mode():
                vectors.append(net.represent(lq[None])[0].double().numpy())
            targets.append(target)
            image.append(number)
    return len(reader), np.stack(vectors), np.array(targets), np.array(image)


def _samples(
    gt: Tensor, degradation: Degradation, scale: int, generator: torch.Generator, count: int
) -> Iterator[tuple[Tensor, list[float]]]:
    """LR patches of an image, and the quantities of their degradations."""
    for _ in range(count):
        height, width = (min(_PATCH, side) // scale * scale for side in gt.shape[1:])
        u = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        top, left = (int(u[i] * (gt.shape[1 + i] - side + 1)) for i, side in ((0, height), (1, width)))
        params = as_batch(in_float32(degradation.draw(generator)))
        lq = degradation.apply(gt[None, :, top : top + height, left : left + width], params, scale, generator)
        yield lq[0], degradation.measure(params)[0].tolist()


def _fit(
    vectors: NDArray[np.float64], target: NDArray[np.float64], image: NDArray[np.int64], seen: NDArray[np.bool_]
) -> Reading:
    require("sklearn")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    groups = image[seen[: len(image)]]
    mean, spread = vectors[seen].mean(axis=0), vectors[seen].std(axis=0) + 1e-8
    standard = (vectors - mean) / spread
    search = GridSearchCV(Ridge(), {"alpha": np.logspace(-1, 6, 15)}, cv=GroupKFold(min(5, len(np.unique(groups)))))
    search.fit(standard[seen], target[seen], groups=groups)
    residual = search.predict(standard[~seen]) - target[~seen]
    weights = search.best_estimator_.coef_ / spread
    return Reading(
        weights=tuple(float(weight) for weight in weights),
        bias=float(search.best_estimator_.intercept_ - mean @ weights),
        low=float(target.min()),
        high=float(target.max()),
        error=float(np.sqrt(np.mean(residual**2))),
        r2=float(1 - np.mean(residual**2) / np.var(target[~seen])),
    )
