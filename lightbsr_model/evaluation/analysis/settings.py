"""The YAML of ``lightbsr analyze``, checked completely before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import GaussianDegradation
from lightbsr_model.degradation.resize import Border
from lightbsr_model.evaluation.model_entries import ModelEntry, ModelListReader
from lightbsr_model.option_files.document import OptionDocument


class GridPoint(NamedTuple):
    """One degradation of the grid."""

    kernel: int
    """Number of its kernel among the grid's kernels: the class that a probe predicts."""
    label: str
    """Label of the kernel in plots."""
    sigma: float | None
    """Standard deviation of an isotropic kernel, in HR pixels; None for an anisotropic one."""
    noise_level: float
    """In 0..255 units."""
    degradation: GaussianDegradation
    """What makes the LR images."""


@dataclass(frozen=True)
class AnalysisSettings:
    """The networks, images and degradations of an analysis."""

    name: str
    """Name of the analysis and of its folder."""
    scale: int
    images: str
    """Folder or LMDB of HR images, or ``bundled``: scikit-image's images."""
    models: tuple[ModelEntry, ...]
    """The networks; one without a path is analysed as initialised with ``seed``."""
    sigmas: tuple[float, ...] = ()
    """Standard deviations of the isotropic kernels of the grid."""
    kernels: tuple[tuple[float, float, float], ...] = ()
    """Anisotropic kernels: lambda_1, lambda_2, theta in degrees."""
    noise_levels: tuple[float, ...] = (0.0,)
    """Noise levels; each is combined with every kernel."""
    count: int = 60
    """At most this many images are used, the first by name."""
    patch: int | None = 192
    """Side of the central crop of an HR image, so that all codes have the same input size; none uses whole images."""
    seen: float = 0.5
    """Share of the images that a probe is trained on. It is measured on the others."""
    seed: int = 0
    """Seed of the split, the noise, t-SNE, and networks without weights."""
    device: str = "auto"
    border: Border = "clamp"
    """What the downsampling sees outside the patch."""

    @property
    def grid(self) -> tuple[GridPoint, ...]:
        """Every kernel combined with every noise level."""
        shapes: list[tuple[str, float | None, dict[str, Any]]] = [
            (f"sigma {sigma:g}", sigma, {"kernel": "isotropic", "sigma": (sigma, sigma)}) for sigma in self.sigmas
        ]
        for first, second, theta in self.kernels:
            parameters = {"lambda_1": (first, first), "lambda_2": (second, second), "theta": (theta, theta)}
            label = f"{first:g}, {second:g}, {theta:g} degrees"
            shapes.append((label, None, {"kernel": "anisotropic", **parameters}))
        return tuple(
            GridPoint(number, label, sigma, level, GaussianDegradation(**parameters, noise_level=(level, level)))
            for number, (label, sigma, parameters) in enumerate(shapes)
            for level in self.noise_levels
        )


def read_analysis(document: OptionDocument, source: str) -> AnalysisSettings:
    """Make settings from a document.

    Raises:
        OptionProblems: With all problems.
    """
    reader = _Reader(document)
    values = reader.read()
    reader.refuse(source)
    return AnalysisSettings(**values)


class _Reader(ModelListReader):
    def read(self) -> dict[str, Any]:
        names = {field.name for field in fields(AnalysisSettings)}
        values = self.known_values(names, ("name", "scale", "images", "models"))
        images = values.get("images")
        if images is not None and images != "bundled" and not Path(str(images)).expanduser().is_dir():
            self.report(("images",), f"there is no folder {images}; `bundled` uses scikit-image's images")
        values["models"] = self.read_models()
        for number, entry in enumerate(values["models"]):
            if entry.results is not None:
                self.report(("models", str(number), "results"), "existing SR images have no codes: give a network")
        self._grid(values)
        self._numbers(values)
        return values

    def _grid(self, values: dict[str, Any]) -> None:
        for key in ("sigmas", "noise_levels"):
            numbers = values.get(key, [0.0])
            if not isinstance(numbers, list) or not all(isinstance(each, (int, float)) for each in numbers):
                self.report((key,), f"expected a list of numbers, got {numbers!r}")
            elif key in values:
                values[key] = tuple(float(each) for each in numbers)
        kernels = values.get("kernels", [])
        if not isinstance(kernels, list) or not all(isinstance(each, list) and len(each) == 3 for each in kernels):
            self.report(("kernels",), f"expected a list of [lambda_1, lambda_2, theta in degrees], got {kernels!r}")
            kernels = []
        values["kernels"] = tuple(tuple(float(each) for each in kernel) for kernel in kernels)
        if self.problems:
            return
        if len(values.get("sigmas", ())) + len(kernels) < 2:
            self.report(("sigmas",), "expected at least two kernels, isotropic (sigmas) or anisotropic (kernels)")
            return
        try:
            _ = AnalysisSettings(
                "", 4, "", (), values.get("sigmas", ()), values["kernels"], values.get("noise_levels", (0,))
            ).grid
        except OptionError as error:
            self.report(("sigmas",), str(error))

    def _numbers(self, values: dict[str, Any]) -> None:
        limits: dict[str, tuple[int, int | None]] = {"scale": (2, 4), "count": (4, None), "seed": (0, None)}
        patch, scale = values.get("patch"), values.get("scale")
        if patch is not None:
            limits["patch"] = (16, None)
        self.check_whole(values, limits)
        self.check_choices(values)
        if isinstance(patch, int) and isinstance(scale, int) and scale > 0 and patch % scale:
            self.report(("patch",), f"expected a multiple of the scale {scale}, got {patch!r}")
        seen = values.get("seen", 0.5)
        if not isinstance(seen, float) or not 0 < seen < 1:
            self.report(("seen",), f"expected a fraction between 0 and 1, got {seen!r}")
