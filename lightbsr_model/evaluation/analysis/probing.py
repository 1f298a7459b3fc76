"""Figures of a representation: what linear probes predict from it, and what its codes cluster by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightbsr_model.evaluation.analysis.codes import CodeTable
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings
from lightbsr_model.evaluation.plotting import require


class Knowledge(NamedTuple):
    """What a representation encodes. None for what the grid does not contain."""

    silhouette_degradation: float
    """Silhouette of the codes grouped by degradation: 1 for well separated groups, 0 for none, negative for wrong ones."""
    silhouette_content: float
    """Silhouette of the codes grouped by image; low if the representation depends on the degradation only."""
    sigma_r2: float | None
    """R^2 of a linear probe for sigma, on unseen images."""
    kernel_accuracy: float | None
    """Accuracy of a linear probe for the kernel, on unseen images."""
    noise_r2: float | None
    """R^2 of a linear probe for the noise level, on unseen images."""
    retrieval: float
    """Share of the codes whose nearest neighbour among other images' codes has the same degradation."""


def split_images(count: int, seen: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split images into those that a probe is trained on and unseen ones, at least two of each."""
    order = np.random.default_rng(seed).permutation(count)
    first = min(max(round(seen * count), 2), count - 2)
    return np.sort(order[:first]), np.sort(order[first:])


def probe(settings: AnalysisSettings, codes: CodeTable) -> Knowledge:
    """Measure a representation.

    Codes are standardised first, with the statistics of the images that probes are trained on. The regularisation is chosen
    by cross-validation on these images too, so that an R^2 below 0 means worse than the mean, not a badly tuned probe.

    Raises:
        OptionError: scikit-learn is not installed.
    """
    require("sklearn")
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import silhouette_score
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.preprocessing import StandardScaler

    grid = settings.grid
    learning_images, unseen_images = split_images(len(codes.names), settings.seen, settings.seed)
    learning, unseen = np.isin(codes.image, learning_images), np.isin(codes.image, unseen_images)
    vectors = StandardScaler().fit(codes.vectors[learning]).transform(codes.vectors)
    sigma = np.array([np.nan if grid[place].sigma is None else grid[place].sigma for place in codes.point], dtype=float)
    kernel = np.array([grid[place].kernel for place in codes.point])
    noise = np.array([grid[place].noise_level for place in codes.point])

    def r2(target: NDArray[np.float64]) -> float | None:
        known = np.isfinite(target)
        if len(np.unique(target[known])) < 2:
            return None
        return score(Ridge(), {"alpha": np.logspace(-1, 6, 15)}, target, known)

    def score(estimator: Any, choices: dict[str, Any], target: NDArray[Any], known: NDArray[np.bool_]) -> float:
        # Cross-validation on the training images, leaving out whole images.
        folds = GroupKFold(min(5, len(learning_images)))
        search = GridSearchCV(estimator, choices, cv=folds)
        search.fit(vectors[learning & known], target[learning & known], groups=codes.image[learning & known])
        return float(search.score(vectors[unseen & known], target[unseen & known]))

    everywhere = np.ones(len(vectors), bool)
    return Knowledge(
        silhouette_degradation=float(silhouette_score(vectors, codes.point)),
        silhouette_content=float(silhouette_score(vectors, codes.image)),
        sigma_r2=r2(sigma),
        kernel_accuracy=score(LogisticRegression(max_iter=1000), {"C": np.logspace(-4, 1, 6)}, kernel, everywhere),
        noise_r2=r2(noise),
        retrieval=retrieval(vectors, codes.image, codes.point),
    )


def retrieval(vectors: NDArray[np.float64], image: NDArray[np.int64], point: NDArray[np.int64]) -> float:
    """Share of the codes whose nearest neighbour, by cosine, among other images' codes has the same degradation.

    Args:
        vectors: Codes, (N, D).
        image: Index of the image of each code, (N,).
        point: Index of the degradation of each code, (N,).
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    similarity[image[:, None] == image[None]] = -np.inf
    return float((point[similarity.argmax(axis=1)] == point).mean())
