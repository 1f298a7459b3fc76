"""Check the files that options name: images, checkpoints, the teacher."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.momentum_contrast import complete_momentum_parts
from lightbsr_arch.methods.registry import network
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.identify import namesake_hint
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lmdb_file import check_whole
from lightbsr_model.data.lq_images import degradation_or_lq_images
from lightbsr_model.data.mixing import mix_problems, mix_sections
from lightbsr_model.degradation import get_degradation
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import KeyPath, OptionDocument, Problem, sections
from lightbsr_model.option_files.dotted_names import code_of_storage
from lightbsr_model.training.teacher import check_fit, data_are_noisy, load_teacher, pairing_of

_MOST_HEADERS = 5000
"""So many images' sizes are read before a run; more would take minutes on a slow disk."""


def check_files(document: OptionDocument, is_train: bool, known_problems: Sequence[Problem]) -> list[Problem]:
    """Check everything that needs a look at the disk, or a network to be built.

    Args:
        document: The options.
        is_train: For training or for a test.
        known_problems: What is wrong already. A section with problems is checked as far as its values allow.
    """
    options = document.options
    checks: list[tuple[KeyPath, Iterator[tuple[KeyPath, str]]]] = []
    datasets = options.get("datasets")
    for key, dataset in datasets.items() if isinstance(datasets, dict) else ():
        if isinstance(dataset, dict):
            checks.append((("datasets", key), _check_dataset(("datasets", key), dataset, options)))
    checks += [((key,), _check_network((key,), network)) for key, network in sections(options, "network_")]
    checks.append((("path",), _check_checkpoints(options)))
    if is_train and "teacher" in options:
        checks.append((("teacher",), _check_teacher(options)))
    found: list[Problem] = []
    for section, check in checks:
        try:
            for key, message in check:
                problem = document.problem(key, message)
                # A set that is missing is missing under each preset of a list: one line of the file, one problem.
                twins = (one for one in found if one.line is not None and one.key[-1:] == key[-1:])
                if not any((one.position, one.message) == (problem.position, message) for one in twins):
                    found.append(problem)
        except (KeyError, TypeError, AttributeError, ValueError):  # noqa: PERF203 - a handful of sections
            # A value that is wrong, and reported, made the check stumble; anything else is a mistake of ours.
            suspects = (section[0], "network_g", "datasets", "")
            if not any((problem.key or ("",))[0] in suspects for problem in known_problems):
                raise
    return found


def _check_network(place: KeyPath, network_opt: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Sizes that do not fit each other; of our own networks, which cost nothing to build without memory."""
    cls = network(network_opt["type"])
    if cls is not None:
        try:
            with torch.device("meta"):
                idle = {"type", *getattr(cls, "ignored_options", {})}
                cls(**{key: value for key, value in network_opt.items() if key not in idle})
        except ValueError as error:
            yield place, str(error)


def _check_dataset(
    place: KeyPath, dataset: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    if (reason := code_of_storage(dataset)) is not None:
        yield (*place, "io_backend"), reason
    if dataset.get("mix") is not None and place[1:] == ("train",):
        yield from _check_mix(place, dataset, options)
        return
    if dataset.get("preset") is not None:
        try:
            get_degradation(dataset["preset"], dataset.get("degradation"), options.get("scale", dataset.get("scale")))
        except OptionError as error:
            name = "degradation" if str(error).startswith("degradation") else "preset"
            yield (*place, name), str(error).removeprefix("preset: ")
    reads_lmdb = dataset.get("io_backend", {}).get("type") == "lmdb"
    lq_root = dataset.get("dataroot_lq")
    if lq_root is not None and not Path(lq_root).expanduser().is_dir():
        yield (*place, "dataroot_lq"), f"there is no folder {lq_root}"
    elif lq_root is not None and reads_lmdb:
        try:
            check_whole(Path(lq_root).expanduser())
        except OptionError as error:
            yield (*place, "dataroot_lq"), str(error)
            return
    if dataset.get("dataroot_gt") is None and dataset.get("io_backend", {}).get("type") != "bundled":
        if dataset.get("preset") is not None:
            yield (*place, "dataroot_gt"), "missing; give the folder or the LMDB that holds the GT images"
        return
    try:
        images = open_images(dataset)
    except OptionError as error:
        named = str(error).partition(":")
        yield (
            (*place, named[0] if named[0] in ("dataroot_gt", "meta_info_file", "pictures") else "dataroot_gt"),
            named[2].strip() or str(error),
        )
        return
    except OSError as error:
        yield (*place, "dataroot_gt"), f"cannot be read: {error}"
        return
    # A preset alone, and a folder that is missing, have been looked at.
    is_open = dataset.get("preset") is None if lq_root is None else Path(lq_root).expanduser().is_dir()
    if is_open and str(dataset.get("type")).startswith("BlindDegradation"):
        try:
            degradation_or_lq_images(dataset, images)
        except OptionError as error:
            key, _, message = str(error).partition(": ")
            yield (*place, key), message
    if place[1:] == ("train",):
        yield from _check_batch(place, dataset, len(images))
    if place[1] == "train":
        yield from _check_training_images(place, dataset, images, reads_lmdb, options)


def _check_mix(place: KeyPath, dataset: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    found = [((*place, *key), message) for key, message in mix_problems(dataset)]
    if not found:
        entries = mix_sections(dataset)
        for number, entry in enumerate(entries):
            found += _check_dataset((*place, "mix", str(number)), entry, options)
        if not found:
            found += _check_batch(place, dataset, sum(len(open_images(entry)) for entry in entries))
    yield from found


def _check_batch(place: KeyPath, dataset: Mapping[str, Any], images: int) -> Iterator[tuple[KeyPath, str]]:
    ratio = dataset.get("dataset_enlarge_ratio", 1)
    batch = dataset["batch_size_per_gpu"]
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if images * ratio / world_size < batch:
        yield (
            (*place, "batch_size_per_gpu"),
            f"{batch}, but {images} images x dataset_enlarge_ratio {ratio} are fewer than a batch on every process "
            f"({world_size} processes): raise dataset_enlarge_ratio or lower it",
        )


def _check_training_images(
    place: KeyPath, dataset: Mapping[str, Any], images: ImageReader, reads_lmdb: bool, options: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    size, scale = dataset.get("gt_size"), dataset.get("scale", options.get("scale"))
    if size is None:
        return
    if scale and size % scale:
        yield (*place, "gt_size"), f"expected a multiple of the scale {scale}, got {size}"
    if reads_lmdb:
        return  # the sizes are in meta_info.txt only as text of whoever wrote it; the loader names an image too small
    for number in range(min(len(images), _MOST_HEADERS)):
        try:
            with Image.open(images.name(number)) as image:
                smallest = min(image.size)
        except OSError:
            continue  # whether it can be decoded at all is for the loader, and skip_bad_images, to say
        if smallest < size:
            yield (
                (*place, "gt_size"),
                f"{size}, but {images.name(number)} is {image.size[0]}x{image.size[1]}: lower it, or leave the image out",
            )
            return


def _check_checkpoints(options: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    paths = options.get("path") or {}
    state = paths.get("resume_state")
    if state is not None and not Path(state).expanduser().is_file():
        yield ("path", "resume_state"), f"there is no file {state}"
    for key, path in sections(paths, "pretrain_network_"):
        if path is None:
            continue
        label = key.removeprefix("pretrain_")
        file = Path(path).expanduser()
        if not file.is_file():
            yield ("path", key), f"there is no file {path}"
        elif label in options:
            strict = paths.get(f"strict_load_{label.removeprefix('network_')}", True)
            yield from _check_weights(
                ("path", key),
                file,
                options[label],
                strict,
                paths.get(f"param_key_{label.removeprefix('network_')}", "params"),
            )


def _check_weights(
    place: KeyPath, file: Path, network_opt: Mapping[str, Any], strict: bool, param_key: str | None
) -> Iterator[tuple[KeyPath, str]]:
    try:
        stored = load_state_dict(file, param_key)
    except ValueError:
        try:
            stored = load_state_dict(file)
        except ValueError as error:
            yield place, str(error)
            return
    arguments = {key: value for key, value in deepcopy(dict(network_opt)).items() if key != "type"}
    net = look_up(ARCH_REGISTRY, network_opt["type"])(**arguments)
    expected, stored = net.state_dict(), complete_momentum_parts(net, stored)
    missing = [name for name in expected if name not in stored]
    surplus = [name for name in stored if name not in expected]
    misfits = [name for name in expected if name in stored and expected[name].shape != stored[name].shape]
    if strict and (missing or surplus or misfits):
        details = [
            f"{len(names)} values {what} (first {names[0]})"
            for names, what in ((missing, "missing"), (surplus, "too many"), (misfits, "of another shape"))
            if names
        ]
        yield (
            place,
            f"{file} is of another network than {network_opt['type']} with these sizes: {', '.join(details)}."
            + namesake_hint(stored),
        )


def _check_teacher(options: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    teacher_opt = options["teacher"] or {}
    try:
        network = look_up(ARCH_REGISTRY, options["network_g"]["type"])
        pairing = pairing_of(network)
        teacher = load_teacher(teacher_opt, pairing)
        arguments = {key: value for key, value in options["network_g"].items() if key != "type"}
        with torch.device("meta"):
            student = network(**arguments)
        noisy = data_are_noisy(options["datasets"]["train"])
        check_fit(teacher, student, pairing, teacher_opt.get("start_student", True), noisy)
    except OptionError as error:
        key, _, message = str(error).partition(": ")
        yield (("network_g", "type"), message) if key == "network_g.type" else (("teacher",), str(error))
