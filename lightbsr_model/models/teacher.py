"""A frozen teacher for a student, checked to fit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import LightBSR, LightBSRTeacher, infer_options
from lightbsr_arch.checkpoints import load_state_dict
from lightbsr_model.degradation import get_degradation
from lightbsr_model.errors import MissingFileError, OptionError

_CODE_SIZES = ("num_channel_code", "num_encoder_feat")
"""What decides the shapes of the codes: all that distillation compares."""


def load_teacher(teacher_opt: Mapping[str, Any]) -> LightBSRTeacher:
    """Build and load a teacher, frozen and in evaluation mode.

    Args:
        teacher_opt: ``network`` (``type: LightBSRTeacher`` and its arguments), ``path`` (its checkpoint) and optionally
            ``param_key``.

    Raises:
        MissingFileError: There is no checkpoint.
        OptionError: The checkpoint is of another network; every difference is named.
    """
    if "network" not in teacher_opt or not teacher_opt.get("path"):
        raise OptionError(
            "teacher: expected the keys `network` (type: LightBSRTeacher, scale, ...) and `path` (its checkpoint), "
            f"got {', '.join(teacher_opt) or 'nothing'}. Train one first: options/train_teacher.yml."
        )
    path = teacher_opt["path"]
    try:
        state_dict = load_state_dict(path, teacher_opt.get("param_key"))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"teacher.path: {error}. Train a teacher first (options/train_teacher.yml), or name its checkpoint here."
        ) from error
    network_opt = dict(teacher_opt["network"])
    # Not by build_network: it logs, and BasicSR's logger must not be asked for before its file is known.
    teacher = ARCH_REGISTRY.get(network_opt.pop("type"))(**network_opt)
    if not isinstance(teacher, LightBSRTeacher):
        raise OptionError(
            f"teacher.network.type: expected LightBSRTeacher, got {teacher_opt['network'].get('type')!r}."
        )
    try:
        stored = infer_options(state_dict)
    except ValueError as error:
        raise OptionError(f"teacher.path: {path}: {error}") from error
    if stored.pop("type") != "LightBSRTeacher":
        raise OptionError(f"teacher.path: {path} is a student's checkpoint (LightBSR), not a LightBSRTeacher's.")
    wanted = {
        **teacher.options,
        "prior_components": teacher.prior_basis.shape[1],
        "queue_size": teacher.momentum_contrast.queue.shape[1],
    }
    differences = [
        f"{key}: {value} in the file, {wanted[key]} in teacher.network"
        for key, value in stored.items()
        if value != wanted[key]
    ]
    if differences:
        raise OptionError(f"teacher.path: {path} does not fit teacher.network. " + "; ".join(differences) + ".")
    teacher.load_state_dict(state_dict)
    return teacher.requires_grad_(False).eval()


def data_are_noisy(train_set: Mapping[str, Any]) -> bool | None:
    """Whether a training set's preset has noise; None for a set without one."""
    if "preset" not in train_set:
        return None
    return get_degradation(train_set["preset"], train_set.get("degradation")).is_noisy


def check_fit(teacher: LightBSRTeacher, student: LightBSR, same_network: bool, noisy_data: bool | None) -> None:
    """Check that a teacher can teach a student.

    Args:
        teacher: The teacher.
        student: The student.
        same_network: Whether the student starts from the teacher's weights, so that all sizes must be equal; else only
            those of the codes.
        noisy_data: Whether the training data have noise; None if unknown.

    Raises:
        OptionError: Naming all that differs.
    """
    keys = tuple(student.options) if same_network else _CODE_SIZES
    differences = [
        f"{key}: teacher {teacher.options[key]}, student {student.options[key]}"
        for key in keys
        if teacher.options[key] != student.options[key]
    ]
    if noisy_data is not None and noisy_data != (teacher.num_noise_channels > 0):
        differences.append(
            f"prior_channels: the teacher's prior has {teacher.num_noise_channels} noise channels, the training data "
            f"{'have noise' if noisy_data else 'have no noise'}"
        )
    if differences:
        raise OptionError(
            "the teacher does not fit (teacher, network_g, datasets.train). " + "; ".join(differences) + "."
        )


def start_from_teacher(student: LightBSR, teacher: LightBSRTeacher) -> None:
    """Copy the teacher's weights and BatchNorm statistics, all but the first convolution of the encoder.

    The query encoder becomes the encoder; the first convolution keeps the student's own start, since it sees no prior.
    """
    query = "momentum_contrast.query.encoder."
    state_dict = {
        key.replace(query, "encoder."): value
        for key, value in teacher.state_dict().items()
        if key.startswith((query, "converters.", "sr."))
    }
    for name in ("weight", "bias"):
        state_dict[f"encoder.layers.0.{name}"] = student.state_dict()[f"encoder.layers.0.{name}"]
    student.load_state_dict(state_dict)
