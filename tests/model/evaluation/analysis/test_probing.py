from __future__ import annotations

import numpy as np
import pytest

from lightbsr_model.evaluation.analysis.codes import CodeTable
from lightbsr_model.evaluation.analysis.probing import probe, retrieval, split_images
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings

SETTINGS = AnalysisSettings(
    "t", 4, "bundled", (), sigmas=(0.5, 1.5, 2.5), kernels=((3.0, 1.0, 30.0),), noise_levels=(0.0, 10.0)
)


def _codes(make, images=12):
    """CodeTable of images under the grid; ``make`` gives a code of a grid point and an image's own vector."""
    generator = np.random.default_rng(0)
    content = generator.normal(size=(images, 4))
    rows = [
        (make(point, content[image]) + 1e-3 * generator.normal(size=6), image, place)
        for image in range(images)
        for place, point in enumerate(SETTINGS.grid)
    ]
    vectors, image, place = zip(*rows, strict=True)
    return CodeTable(np.stack(vectors), np.array(image), np.array(place), tuple(map(str, range(images))))


def test_grid_is_every_kernel_with_every_noise_level():
    grid = SETTINGS.grid
    assert [(point.kernel, point.sigma, point.noise_level) for point in grid] == [
        (0, 0.5, 0), (0, 0.5, 10), (1, 1.5, 0), (1, 1.5, 10), (2, 2.5, 0), (2, 2.5, 10), (3, None, 0), (3, None, 10),
    ]  # fmt: skip
    assert grid[5].degradation.sigma == (2.5, 2.5)
    assert (grid[7].degradation.kernel, grid[7].degradation.lambda_1, grid[7].degradation.theta) == (
        "anisotropic", (3, 3), (30, 30),
    )  # fmt: skip
    assert grid[7].degradation.noise_level == (10, 10)


def test_a_code_of_the_degradation_alone_is_read():
    def make(point, _):
        place = np.eye(4)[point.kernel]
        return np.concatenate([place, [point.sigma or 0.0, point.noise_level]])

    knowledge = probe(SETTINGS, _codes(make))
    assert knowledge.sigma_r2 > 0.999
    assert knowledge.noise_r2 > 0.999
    assert knowledge.kernel_accuracy == 1
    assert knowledge.retrieval == 1
    assert knowledge.silhouette_degradation > 0.99
    assert knowledge.silhouette_content < 0


def test_a_code_of_the_content_alone_is_told_apart():
    knowledge = probe(SETTINGS, _codes(lambda _, content: np.concatenate([content, content[:2] ** 2])))
    assert knowledge.sigma_r2 < 0.05
    assert knowledge.noise_r2 < 0.05
    assert knowledge.kernel_accuracy < 0.45  # by chance 0.25
    assert knowledge.silhouette_content > 0.9
    assert knowledge.silhouette_degradation < 0


def test_a_probe_is_measured_on_unseen_images():
    """A code that names sigma differently in each image can be learnt by heart, and says nothing of others."""
    sign = {}

    def make(point, content):
        key = content.tobytes()
        sign.setdefault(key, np.random.default_rng(len(sign)).permutation(4))
        return np.concatenate([content, [sign[key][point.kernel], 0.0]])

    knowledge = probe(SETTINGS, _codes(make, images=16))
    assert knowledge.sigma_r2 < 0.2


def test_what_the_grid_does_not_ask_is_none():
    settings = AnalysisSettings("t", 4, "bundled", (), kernels=((1.0, 2.0, 0.0), (3.0, 1.0, 30.0)))
    generator = np.random.default_rng(0)
    image, place = np.divmod(np.arange(16), 2)
    codes = CodeTable(generator.normal(size=(16, 3)), image, place, tuple(map(str, range(8))))
    knowledge = probe(settings, codes)
    assert (knowledge.sigma_r2, knowledge.noise_r2) == (None, None)
    assert knowledge == probe(settings, codes)


def test_retrieval_by_hand():
    vectors = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1], [1, 0.2], [1, 0.3]])
    image = np.array([0, 0, 1, 1, 2, 2])
    point = np.array([0, 1, 0, 1, 0, 1])
    # The last one's nearest among other images has degradation 0.
    assert retrieval(vectors, image, point) == pytest.approx(5 / 6)
    assert retrieval(vectors[:4], image[:4], 1 - point[:4]) == 1


@pytest.mark.parametrize(("count", "seen"), [(4, 0.01), (4, 0.99), (11, 0.5), (60, 0.7)])
def test_split(count, seen):
    learning, unseen = split_images(count, seen, 3)
    assert not set(learning) & set(unseen)
    assert sorted([*learning, *unseen]) == list(range(count))
    assert min(len(learning), len(unseen)) >= 2
    assert np.array_equal(learning, split_images(count, seen, 3)[0])
