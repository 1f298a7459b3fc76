"""Values of an option file that do not fit each other, each of them good by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.lq_images import degradation_of_batches, degradation_of_section
from lightbsr_model.data.mixing import mix_sections
from lightbsr_model.data.patches import FINISHED
from lightbsr_model.losses import DegradationRegressionLoss
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.class_options import aligns_pairs, declared, declares, reads
from lightbsr_model.option_files.declared.kinds import arguments_of, is_basicsr, is_ours
from lightbsr_model.option_files.document import KeyPath, sections
from lightbsr_model.option_files.section_check import SectionCheck
from lightbsr_model.training.diffusion_augmentation import (
    diffusion_options,
    diffusion_problem,
    losses_of_discriminators,
)
from lightbsr_model.training.readout import readout_problem
from lightbsr_model.training.teacher import prior_problem

Misfit = tuple[KeyPath, str]


def misfits(check: SectionCheck) -> Iterator[Misfit]:
    """All of them. A value that has a problem already is not compared.

    Args:
        check: What was checked, value by value.
    """
    for found in _CHECKS:
        yield from found(check)


def _class(check: SectionCheck, registry: Any, *key: str) -> Any:
    name = check.good(*key)
    return None if name is None else look_up(registry, name)


def _scales(check: SectionCheck) -> Iterator[Misfit]:
    scale = check.good("scale")
    places = [(key,) for key, _ in sections(check.options, "network_")] + [("teacher", "network")]
    for place in places:
        for name in ("scale", "upscale"):
            value = check.good(*place, name)
            if scale is not None and value is not None and value != scale:
                yield (*place, name), f"{value!r}, but scale is {scale!r}: make them equal"
    for name, dataset in check.section("datasets").items():
        cls = _class(check, DATASET_REGISTRY, "datasets", name, "type")
        if cls is not None and declared(cls) and dataset.get("scale") is None and check.at("scale") is None:
            yield ("scale",), f"missing; expected the factor between LQ and GT images ({cls.__name__} needs it)"
            return


def _networks(model: Any) -> tuple[str, ...]:
    """The sections of a model's networks."""
    judged = ("network_d",) if "network_d" in reads(model) else ()
    return getattr(model, "networks", ("network_g", *judged))


def _networks_and_losses(check: SectionCheck) -> Iterator[Misfit]:
    model = _class(check, MODEL_REGISTRY, "model_type")
    if model is None or not (declares(model) or is_basicsr(model)):
        return  # what other people's models need, they know
    trains = isinstance(check.at("train"), dict)
    for name in _networks(model) if trains else ("network_g",):
        if check.at(name) is None:
            yield (name,), f"missing; {model.__name__} needs it"
    if not trains or not is_basicsr(model):
        return
    of_model = reads(model, "train")
    for name in ("optim_d", "gan_opt"):
        if name in of_model and check.at("train", name) is None:
            yield ("train", name), f"missing; {model.__name__} needs it"
    is_plain = getattr(model, "init_training_settings", None) is SRModel.init_training_settings
    if is_plain and not check.at("train", "pixel_opt") and not check.at("train", "perceptual_opt"):
        yield ("train", "pixel_opt"), f"missing; {model.__name__} learns by pixel_opt, perceptual_opt or both"


def _data_loading(check: SectionCheck) -> Iterator[Misfit]:
    place = ("datasets", "train")
    if not isinstance(check.options.get("datasets"), dict):
        return
    if isinstance(check.at("train"), dict) and check.at(*place) is None:
        yield place, "missing"
    if check.good(*place, "prefetch_mode") == "cuda" and check.at(*place, "pin_memory") is not True:
        yield (*place, "prefetch_mode"), "cuda copies from pinned memory: add pin_memory: true"
    batch, parts = check.good(*place, "batch_size_per_gpu"), check.good("train", "accum_iter")
    if batch is not None and parts is not None and batch % parts:
        yield ("train", "accum_iter"), f"expected a divisor of batch_size_per_gpu, {batch}, got {parts}"


def _schedule(check: SectionCheck) -> Iterator[Misfit]:
    place = ("train", "scheduler")
    total, kind = check.good("train", "total_iter"), check.good(*place, "type")
    weights, default = check.good(*place, "restart_weights"), [1]
    starts = {"CosineAnnealingRestartLR": "periods", "MultiStepLR": "restarts", "MultiStepRestartLR": "restarts"}.get(
        kind or ""
    )
    lengths = check.good(*place, starts) if starts else None
    if starts and (lengths is not None or weights is not None) and check.is_good(*place):
        lengths, weights = lengths if lengths is not None else [0], weights if weights is not None else default
        if len(lengths) != len(weights):
            yield (
                (*place, "restart_weights"),
                f"{len(weights)} values, but {starts} has {len(lengths)}: give one for each",
            )
    if total is None:
        return
    if starts == "periods" and lengths is not None and sum(lengths) != total:
        change = "lengthen" if sum(lengths) < total else "shorten"
        yield (
            (*place, "periods"),
            f"they end at iteration {sum(lengths)}, {'before' if sum(lengths) < total else 'after'} total_iter {total}: "
            f"{change} them",
        )
    encoder = check.good("train", "encoder_iter") or 0
    if encoder > total:
        yield ("train", "encoder_iter"), f"expected at most total_iter, {total}, got {encoder}"
    warmup = check.good(*place, "warmup_iter")
    if warmup is not None and warmup > total - encoder:
        yield (*place, "warmup_iter"), f"longer than the joint phase, {total - encoder} iterations: shorten it"


def _queue(check: SectionCheck) -> Iterator[Misfit]:
    """A queue of keys takes whole batches, as in the published code: the joined batch of all processes at most at once."""
    cls = _class(check, ARCH_REGISTRY, "network_g", "type")
    batch = check.good("datasets", "train", "batch_size_per_gpu")
    if cls is None or not is_ours(cls) or batch is None or not check.is_good("network_g"):
        return
    argument = arguments_of(cls, "arch")[0].get("queue_size")
    if argument is None:
        return
    size = check.section("network_g").get("queue_size", argument.default)
    joined = batch * int(os.environ.get("WORLD_SIZE", "1"))
    if size % batch or size < joined:
        yield (
            ("network_g", "queue_size"),
            f"expected a multiple of the batch ({batch} samples per process, {joined} in all), got {size}",
        )


def _degradations(check: SectionCheck) -> Iterator[Misfit]:
    """Degradations that cannot share a batch, and ways of sharing them that they do not have."""
    place = ("datasets", "train")
    section = check.section("datasets").get("train")
    if not isinstance(section, dict) or not check.is_good(*place):
        return
    try:
        parts = [degradation_of_section(part) for part in mix_sections(section) if part.get("preset") is not None]
    except OptionError:
        return  # each is reported where it is
    try:
        degradation = parts[0].covering(parts[1:]) if parts else None
    except OptionError as error:
        yield (*place, "mix"), error.message
        return
    per = check.good(*place, "degradation_per") or "sample"
    if per != "sample" and check.good(*place, "degrade_in") == "loader":
        yield (
            (*place, "degradation_per"),
            f"a loader degrades each sample alone: take sample, or degrade_in: device; got {per}",
        )
    batch, accum = check.good(*place, "batch_size_per_gpu"), check.good("train", "accum_iter") or 1
    pool = check.good(*place, "pool") or 0
    if pool and batch and batch % accum == 0 and pool % (batch // accum):
        yield (*place, "pool"), f"expected a multiple of the {batch // accum} samples of a batch, got {pool}"
    if pool and check.good(*place, "degrade_in") == "loader":
        yield (*place, "pool"), "the model mixes batches that it degrades: take degrade_in: device"
    if per == "sizes" and not hasattr(degradation, "sharing_sizes"):
        yield (*place, "degradation_per"), "sizes is for real-world presets (realworld_x4, photo_x4): take sample"


def _prior(check: SectionCheck) -> Iterator[Misfit]:
    """What a teacher is told of the degradation, in training, of a student's teacher too, and in its own validation."""
    sections_of: list[tuple[KeyPath, list[str]]] = [
        (("network_g",), list(check.section("datasets"))),
        (("teacher", "network"), ["train"]),
    ]
    for place, names in sections_of:
        cls = _class(check, ARCH_REGISTRY, *place, "type")
        if cls is None or not is_ours(cls) or not check.is_good(*place):
            continue
        arguments, section = arguments_of(cls, "arch")[0], check.section(*place)
        prior, channels = (
            section.get(name, arguments[name].default) if name in arguments else None
            for name in ("prior", "prior_channels")
        )
        for name in names:
            problem = _prior_of_data(check, name, prior, channels)
            if problem is not None:
                yield (*place, problem[0]), f"{problem[1]} (datasets.{name})"
                break


def _prior_of_data(check: SectionCheck, name: str, prior: str | None, channels: int | None) -> tuple[str, str] | None:
    section = check.section("datasets").get(name)
    if not isinstance(section, dict) or not check.is_good("datasets", name):
        return None
    try:
        degradation = degradation_of_batches(section)
    except OptionError:
        return None  # it is reported where it is
    return None if degradation is None else prior_problem(prior, channels, degradation)


def _readout(check: SectionCheck) -> Iterator[Misfit]:
    """The loss of what is read off the representation, and what it needs."""
    place, data = ("train", "degradation_opt"), ("datasets", "train")
    loss = _class(check, LOSS_REGISTRY, *place, "type")
    if loss is None or not check.is_good(*data):
        return
    if is_ours(loss) and loss is not DegradationRegressionLoss:
        yield (*place, "type"), f"expected DegradationRegressionLoss, got {loss.__name__}"
    if check.good(*data, "degrade_in") == "loader":
        yield (*data, "degrade_in"), "degradation_opt needs the degradations on the device: take device"
    network = _class(check, ARCH_REGISTRY, "network_g", "type")
    try:
        degradation = degradation_of_batches(check.section("datasets").get("train") or {})
    except OptionError:
        return  # it is reported where it is
    problem = None if network is None else readout_problem(network, degradation)
    if problem is not None:
        yield place, problem


def _diffusion(check: SectionCheck) -> Iterator[Misfit]:
    """What a discriminator sees diffused, where there is one."""
    place = ("train", "diffusion_opt")
    model = _class(check, MODEL_REGISTRY, "model_type")
    section = check.at(*place)
    if model is None or not isinstance(section, dict) or not check.is_good(*place):
        return
    networks = (*_networks(model), *getattr(model, "optional_networks", ()))
    if (declares(model) or is_basicsr(model)) and "network_d" not in networks:
        yield place, f"{model.__name__} has no discriminator, whose images it diffuses: leave it out"
        return
    losses = [loss for loss in losses_of_discriminators(model).values() if check.at("train", loss)]
    if declares(model) and not losses:
        yield place, "no loss asks a discriminator, whose images it diffuses: leave it out"
    for loss in losses:
        problem = diffusion_problem(diffusion_options(section), str(check.good("train", loss, "gan_type")))
        if problem is not None:
            yield tuple(problem[0].split(".")), problem[1].rstrip(".")
            return


def _unequal_pairs(check: SectionCheck) -> Iterator[Misfit]:
    """Pairs that only a model which aligns them can learn from, and pairs that are not moved."""
    data = ("datasets", "train")
    if check.good(*data, "misalign") is not None and check.at(*data, "dataroot_lq") is not None:
        yield (*data, "misalign"), FINISHED.rstrip(".")
    model, place = _class(check, MODEL_REGISTRY, "model_type"), (*data, "unequal_pairs")
    known = model is not None and (declares(model) or is_basicsr(model))
    if check.good(*place) and known and not aligns_pairs(model):
        yield (
            place,
            f"{model.__name__} takes pairs as they are and would learn to blur: leave it out, and align the pairs",
        )


def _losses(check: SectionCheck) -> Iterator[Misfit]:
    """What a loss says of its arguments together, and of files that it needs on this machine."""
    for name, section in check.section("train").items():
        place = ("train", name)
        if not name.endswith("_opt") or not isinstance(section, dict) or not check.is_good(*place):
            continue
        loss = _class(check, LOSS_REGISTRY, *place, "type")
        if hasattr(loss, "problem_with") and is_ours(loss) and (problem := loss.problem_with(section)):
            yield (*place, problem[0]), problem[1].rstrip(".")


_CHECKS = (
    *(_scales, _networks_and_losses, _data_loading, _schedule, _queue),
    *(_degradations, _prior, _readout, _diffusion),
    *(_unequal_pairs, _losses),
)
