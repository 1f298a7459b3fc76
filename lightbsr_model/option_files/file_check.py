"""Check the files that options name: images, checkpoints, the teacher."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image
from torch import nn

from lightbsr_arch.errors import RAISED_BY_NETWORKS, OptionError
from lightbsr_arch.layers.momentum_contrast import complete_momentum_parts
from lightbsr_arch.methods.registry import network
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.fit import differences
from lightbsr_arch.weights.identify import namesake_hint
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lmdb_file import check_whole
from lightbsr_model.data.lq_images import degradation_of_batches, degradation_of_section, degradation_or_lq_images
from lightbsr_model.data.mixing import mix_problems, mix_sections
from lightbsr_model.degradation.misaligned import Misalignment
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import KeyPath, sections
from lightbsr_model.option_files.dotted_names import code_of_storage
from lightbsr_model.option_files.section_check import SectionCheck
from lightbsr_model.training.teacher import check_fit, load_teacher, pairing_of

_MOST_HEADERS = 5000
"""At most this number of images' sizes is read before a run; more would take minutes on a slow disk."""

_STORAGE = ("io_backend", "meta_info_file", "pictures", "dataroot_lq", "dataroot_gt")
"""Keys that say where the images are."""

Found = Iterator[tuple[KeyPath, str]]


def blank_network(options: Mapping[str, Any]) -> nn.Module | None:
    """One of our networks, built of its section without memory (device ``meta``), which costs nothing; None if not ours.

    Raises:
        OptionError: It cannot be built.
    """
    cls = network(options.get("type"))
    if cls is None:
        return None
    idle = {"type", *getattr(cls, "ignored_options", {})}
    try:
        with torch.device("meta"):
            return cls(**{key: value for key, value in options.items() if key not in idle})
    except (TypeError, ValueError) as error:
        raise OptionError(str(error)) from error


class FileCheck:
    """Checks everything that needs a look at the disk, or a network to be built.

    Args:
        check: What is known of the values. One that has a problem is not used here.
    """

    def __init__(self, check: SectionCheck) -> None:
        self.check, self.options = check, check.options

    def problems(self) -> Found:
        """All that does not fit."""
        for name in self.check.section("datasets"):
            if isinstance(self.check.at("datasets", name), dict):
                yield from self._data_set(("datasets", name))
        for key, network_opt in sections(self.options, "network_"):
            if self.check.is_good(key) and isinstance(network_opt, dict):
                yield from self._network((key,), network_opt)
        yield from self._checkpoints()
        needed = (("teacher",), ("network_g",), ("datasets", "train", "preset"), ("datasets", "train", "degradation"))
        if all(self.check.is_good(*key) for key in needed) and self.check.at("teacher") and self.check.at("train"):
            yield from self._teacher()

    def _network(self, place: KeyPath, network_opt: Mapping[str, Any]) -> Found:
        try:
            blank_network(network_opt)
        except OptionError as error:
            yield place, str(error)

    # ---- data sets

    def _data_set(self, place: KeyPath) -> Found:
        dataset = self.check.section(*place)
        if self.check.is_good(*place, "io_backend") and (reason := code_of_storage(dataset)) is not None:
            yield (*place, "io_backend"), reason
        good = all(self.check.is_good(*place, key) for key in _STORAGE)
        if place[1] != "train" or dataset.get("mix") is None:
            if dataset.get("preset") is not None:
                yield from self._preset(place, dataset)
            if good:
                count = yield from self._storage(place, dataset)
                yield from self._batch(place, count)
            return
        if not good or not self.check.is_good(*place, "mix"):
            return
        found = [((*place, *key), message) for key, message in mix_problems(dataset)]
        yield from found
        if found:
            return
        counts = []
        for number, entry in enumerate(mix_sections(dataset)):
            of_entry = (*place, "mix", str(number))
            if entry.get("preset") is not None:
                yield from self._preset(of_entry, entry)
            counts.append((yield from self._storage(of_entry, entry)))
        yield from self._batch(place, None if None in counts else sum(filter(None, counts)))

    def _storage(self, place: KeyPath, dataset: Mapping[str, Any]) -> Generator[tuple[KeyPath, str], None, int | None]:
        """The folders and LMDBs of a data set, or of an entry of its mix; returns the number of images where it is known."""
        backend = dataset.get("io_backend", {}).get("type", "disk")
        lq_root = dataset.get("dataroot_lq")
        lq_folder = None if lq_root is None else Path(lq_root).expanduser()
        # Path.is_dir raises for a name that is too long.
        has_lq = lq_folder is not None and os.path.isdir(lq_folder)  # noqa: PTH112
        if lq_folder is not None and not has_lq:
            yield (*place, "dataroot_lq"), f"there is no folder {lq_root}"
        elif lq_folder is not None and backend == "lmdb":
            try:
                check_whole(lq_folder)
            except OptionError as error:
                yield (*place, "dataroot_lq"), str(error)
                return None
        if dataset.get("dataroot_gt") is None and backend != "bundled":
            if dataset.get("preset") is not None:
                yield (*place, "dataroot_gt"), "missing; give the folder or the LMDB that holds the GT images"
            return None
        if not self.check.is_good(*place, "dataroot_gt"):
            return None
        is_paired = has_lq or (lq_root is None and dataset.get("preset") is None)
        return (yield from self._images(place, dataset, is_paired))

    def _preset(self, place: KeyPath, dataset: Mapping[str, Any]) -> Found:
        if not (self.check.is_good(*place, "preset") and self.check.is_good(*place, "degradation")):
            return
        scale = self.check.good("scale") or self.check.good(*place[:2], "scale")
        try:
            degradation_of_section({**dataset, "scale": scale})
        except OptionError as error:
            yield (*place, *_key_of(error, "preset")), error.message

    def _images(
        self, place: KeyPath, dataset: Mapping[str, Any], is_paired: bool
    ) -> Generator[tuple[KeyPath, str], None, int | None]:
        """The GT images, and with ``is_paired`` the LQ images: a preset alone, and a folder that is missing, were judged."""
        try:
            images = open_images(dataset)
        except OptionError as error:
            yield (*place, *_key_of(error, "dataroot_gt")), error.message
            return None
        except OSError as error:
            yield (*place, "dataroot_gt"), f"cannot be read: {error}"
            return None
        if (
            is_paired
            and str(dataset.get("type")).startswith("BlindDegradation")
            and self.check.is_good(*place, "filename_tmpl")
        ):
            try:
                degradation_or_lq_images(dataset, images)
            except OptionError as error:
                yield (*place, *_key_of(error, "dataroot_lq")), error.message
        if place[1] == "train":
            yield from self._patches(place, images, dataset)
        return len(images)

    def _batch(self, place: KeyPath, images: int | None) -> Found:
        """Whether a training set has a batch for every process."""
        batch = self.check.good(*place, "batch_size_per_gpu")
        ratio = self.check.good(*place, "dataset_enlarge_ratio") or 1
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if place[1:] != ("train",) or batch is None or images is None:
            return
        if images * ratio / world_size < batch:
            yield (
                (*place, "batch_size_per_gpu"),
                f"{batch}, but {images} images x dataset_enlarge_ratio {ratio} are fewer than a batch on every process "
                f"({world_size} processes): raise dataset_enlarge_ratio or lower it",
            )

    def _patches(self, place: KeyPath, images: ImageReader, dataset: Mapping[str, Any]) -> Found:
        """Whether the patches of a training fit into its images."""
        train = place[:2]
        size, scale = self.check.good(*train, "gt_size"), self.check.good(*train, "scale") or self.check.good("scale")
        if size is None:
            return
        if scale and size % scale:
            yield (*place, "gt_size"), f"expected a multiple of the scale {scale}, got {size}"
        margin = 0
        if scale and dataset.get("misalign") and self.check.is_good(*train, "misalign"):
            margin = 2 * scale * Misalignment(**dataset["misalign"]).margin(size // scale)
        if (dataset.get("io_backend") or {}).get("type") == "lmdb":
            return  # the sizes are in meta_info.txt only as text of whoever wrote it; the loader names an image too small
        for number in range(min(len(images), _MOST_HEADERS)):
            try:
                with Image.open(images.name(number)) as image:
                    smallest = min(image.size)
            except OSError:
                continue  # whether it can be decoded at all is for the loader, and skip_bad_images, to say
            if smallest < size + margin:
                needed = f"{size} and {margin} for misalign" if margin else f"{size}"
                found = f"{images.name(number)} is {image.size[0]}x{image.size[1]}"
                yield (
                    (*place, "gt_size"),
                    f"{needed}, but {found}: lower it, or leave the image out",
                )
                return

    # ---- weights

    def _checkpoints(self) -> Found:
        paths = self.check.section("path")
        state = self.check.good("path", "resume_state")
        if state is not None and not os.path.isfile(Path(state).expanduser()):
            yield ("path", "resume_state"), f"there is no file {state}"
        for key, path in sections(paths, "pretrain_network_"):
            label = key.removeprefix("pretrain_")
            letter = label.removeprefix("network_")
            if path is None or not self.check.is_good("path", key):
                continue
            if not os.path.isfile(Path(path).expanduser()):
                yield ("path", key), f"there is no file {path}"
            elif self.check.good(label) and self.check.is_good("path", f"param_key_{letter}"):
                strict = paths.get(f"strict_load_{letter}", True)
                param_key = paths.get(f"param_key_{letter}", "params")
                yield from self._weights(("path", key), Path(path).expanduser(), label, strict, param_key)

    def _weights(self, place: KeyPath, file: Path, label: str, strict: bool, param_key: str | None) -> Found:
        network_opt = self.options[label]
        try:
            stored = load_state_dict(file, param_key)
        except ValueError:
            try:
                stored = load_state_dict(file)
            except ValueError as error:
                yield place, str(error)
                return
        arguments = {key: value for key, value in deepcopy(dict(network_opt)).items() if key != "type"}
        try:
            net = look_up(ARCH_REGISTRY, network_opt["type"])(**arguments)
        except RAISED_BY_NETWORKS as error:
            if network(network_opt["type"]) is None:  # what ours raise was reported
                yield (label,), f"{network_opt['type']} cannot be made with these arguments: {error}"
            return
        stored = complete_momentum_parts(net, stored)
        found = differences(net.state_dict(), stored)
        if strict and found:
            yield (
                place,
                f"{file} is of another network than {network_opt['type']} with these sizes: {found}.{namesake_hint(stored)}",
            )

    def _teacher(self) -> Found:
        teacher_opt, train_set = self.options["teacher"], self.check.section("datasets", "train")
        arguments = dict(self.check.section("network_g"))
        try:
            student_class = look_up(ARCH_REGISTRY, arguments.pop("type", None))
            pairing = pairing_of(student_class)
            teacher = load_teacher(teacher_opt, pairing)
            with torch.device("meta"):
                student = student_class(**arguments)
            start = teacher_opt.get("start_student", True)
            check_fit(teacher, student, pairing, start, degradation_of_batches(train_set))
        except OptionError as error:
            yield _key_of(error, "teacher"), error.message
        except ValueError as error:  # sizes that do not fit each other
            yield ("network_g",), str(error)


def _key_of(error: OptionError, default: str) -> KeyPath:
    return tuple((error.key or default).split("."))
