"""Where a data set's LQ images come from: a degradation of the GT images, or files that exist already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.data.image_sources import ImageReader, ImageSource, open_source
from lightbsr_model.data.mixing import mix_sections
from lightbsr_model.degradation import GaussianDegradation, get_degradation
from lightbsr_model.degradation.base import Degradation


class _Chosen:
    """Some images of a source, in an order of their own."""

    def __init__(self, source: ImageSource, places: Sequence[int]) -> None:
        self._source, self._places = source, places
        self.names = [source.names[place] for place in places]

    def stem(self, index: int) -> str:
        return self._source.stem(self._places[index])

    def content(self, index: int) -> bytes:
        return self._source.content(self._places[index])

    def stamp(self, index: int) -> tuple[int, str]:
        return self._source.stamp(self._places[index])


def degradation_or_lq_images(opt: Mapping[str, Any], gt_images: ImageReader) -> Degradation | ImageReader:
    """Look up the degradation of ``preset``, or open the images of ``dataroot_lq``.

    Args:
        opt: Either ``preset`` and optionally ``degradation``; or ``dataroot_lq``, read as ``io_backend.type`` (``disk`` or
            ``lmdb``) says, and optionally ``filename_tmpl``: the name of an LQ image without extension, ``{}`` being that
            of its GT image. Default: ``{}``.
        gt_images: The GT images; LQ images come in their order.

    Raises:
        MissingFileError: The folder does not exist, or GT images have no LQ image.
        OptionError: Both or none, or a template without ``{}``.
    """
    if opt.get("dataroot_lq") is None:
        if opt.get("preset") is None:
            raise OptionError("preset", "missing; give a degradation, or finished LQ images by dataroot_lq.")
        return degradation_of_section(opt)
    for key in ("preset", "degradation"):
        if opt.get(key) is not None:
            raise OptionError(key, "has no effect on the finished LQ images of dataroot_lq; leave out one of the two.")
    return open_lq_images(opt, gt_images)


def degradation_of_section(opt: Mapping[str, Any]) -> Degradation:
    """The degradation of a section with a ``preset``.

    Args:
        opt: ``preset``; optionally ``degradation`` (overrides), ``scale`` and ``border``.

    Raises:
        OptionError: See :func:`~lightbsr_model.degradation.presets.get_degradation`; or a border that has no effect.
    """
    degradation = get_degradation(opt["preset"], opt.get("degradation"), opt.get("scale"))
    border: Any = opt.get("border") or "clamp"
    if isinstance(degradation, GaussianDegradation):
        return replace(degradation, border=border)
    if border != "clamp":
        raise OptionError("border", f"has no effect on {opt['preset']}, whose blurs reflect: leave it out.")
    return degradation


def degradation_of_batches(opt: Mapping[str, Any]) -> Degradation | None:
    """What applies the batches of a training section, whose samples may be of several sets (``mix``).

    Returns:
        None for finished pairs, and for data sets that have no preset.

    Raises:
        OptionError: Degradations that cannot share a batch, or see :func:`degradation_of_section`.
    """
    degradations = [degradation_of_section(part) for part in mix_sections(opt) if part.get("preset") is not None]
    return degradations[0].covering(degradations[1:]) if degradations else None


def open_lq_images(opt: Mapping[str, Any], gt_images: ImageReader) -> ImageReader:
    """Open the LQ images of ``dataroot_lq``, one for each GT image, see :func:`degradation_or_lq_images`."""
    template = opt.get("filename_tmpl") or "{}"
    if template.count("{}") != 1:
        raise OptionError("filename_tmpl", f"expected a name with one {{}} in it, like '{{}}x4', got {template!r}.")
    source = open_source(opt, "dataroot_lq")
    places = {source.stem(place): place for place in range(len(source.names))}
    wanted = [template.replace("{}", gt_images.stem(index)) for index in range(len(gt_images))]
    missing = [name for name in wanted if name not in places]
    if missing:
        raise MissingFileError(
            "dataroot_lq",
            f"{len(missing)} of {len(wanted)} GT images have no LQ image in {opt['dataroot_lq']}, first "
            f"{missing[0]} (filename_tmpl is {template!r}).",
        )
    return ImageReader(_Chosen(source, [places[name] for name in wanted]))
