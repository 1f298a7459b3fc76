"""A frozen teacher for a student, checked to fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import LightBSR, LightBSRTeacher, infer_options
from lightbsr_arch.baselines import KDSR, KDSRTeacher
from lightbsr_arch.checkpoints import load_state_dict
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.bridge.class_lookup import look_up
from lightbsr_model.degradation import get_degradation


@dataclass(frozen=True)
class Pairing:
    """A student's class, the class of teachers that it learns from, and what they share."""

    student: type[Any]
    """Its ``options`` are the sizes that both have."""
    teacher: type[Any]
    """Its ``options`` are all that a state dict tells."""
    code_sizes: tuple[str, ...]
    """The options that decide the shapes of what is distilled."""
    shared: tuple[tuple[str, str], ...]
    """Prefixes of the weights that a student starts from: the teacher's, and its own."""
    fresh: tuple[str, ...] = ()
    """The student's weights among them that start anew all the same."""
    fresh_sizes: tuple[str, ...] = ()
    """Options that may differ although the student starts from the teacher, since that part starts anew."""
    recipe: str = ""
    """The option file that trains such a teacher."""


PAIRINGS = (
    Pairing(
        LightBSR,
        LightBSRTeacher,
        code_sizes=("num_channel_code", "num_encoder_feat"),
        # The query encoder becomes the encoder; its first convolution saw the prior too.
        shared=(("momentum_contrast.query.encoder.", "encoder."), ("converters.", "converters."), ("sr.", "sr.")),
        fresh=("encoder.layers.0.",),
        recipe="options/train_teacher.yml",
    ),
    Pairing(
        KDSR,
        KDSRTeacher,
        code_sizes=("num_feat",),
        shared=(("sr.", "sr."),),
        fresh_sizes=("num_encoder_block",),
        recipe="options/compare/train_kdsr_m_teacher.yml",
    ),
)
"""All that can be distilled here."""


def pairing_of(student: type[Any] | None) -> Pairing:
    """The pairing of a student's class.

    Raises:
        OptionError: Nothing teaches it.
    """
    for pairing in PAIRINGS:
        if student is pairing.student:
            return pairing
    names = " or ".join(pairing.student.__name__ for pairing in PAIRINGS)
    got = None if student is None else student.__name__
    raise OptionError(f"network_g.type: expected {names} as the student of a teacher, got {got!r}.")


def load_teacher(teacher_opt: Mapping[str, Any], pairing: Pairing) -> Any:
    """Build and load a teacher, frozen and in evaluation mode.

    Args:
        teacher_opt: ``network`` (its ``type`` and arguments), ``path`` (its checkpoint) and optionally ``param_key``.
        pairing: What the student needs.

    Raises:
        MissingFileError: There is no checkpoint.
        OptionError: The checkpoint is of another network; every difference is named.
    """
    name = pairing.teacher.__name__
    if "network" not in teacher_opt or not teacher_opt.get("path"):
        raise OptionError(
            f"teacher: expected the keys `network` (type: {name}, scale, ...) and `path` (its checkpoint), "
            f"got {', '.join(teacher_opt) or 'nothing'}. Train one first: {pairing.recipe}."
        )
    path = teacher_opt["path"]
    try:
        state_dict = load_state_dict(path, teacher_opt.get("param_key"))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"teacher.path: {error}. Train a teacher first ({pairing.recipe}), or name its checkpoint here."
        ) from error
    network_opt = dict(teacher_opt["network"])
    # Not by build_network: it logs, and BasicSR's logger must not be asked for before its file is known.
    network = look_up(ARCH_REGISTRY, network_opt.pop("type", None))
    if not (isinstance(network, type) and issubclass(network, pairing.teacher)):
        raise OptionError(f"teacher.network.type: expected {name}, got {teacher_opt['network'].get('type')!r}.")
    teacher: Any = network(**network_opt)
    try:
        stored = infer_options(state_dict)
    except ValueError as error:
        raise OptionError(f"teacher.path: {path}: {error}") from error
    stored_type = stored.pop("type")
    if stored_type != name:
        whose = (
            "a student's checkpoint" if stored_type == pairing.student.__name__ else "the checkpoint of another network"
        )
        raise OptionError(f"teacher.path: {path} is {whose} ({stored_type}), not a {name}'s.")
    differences = [
        f"{key}: {value} in the file, {teacher.options[key]} in teacher.network"
        for key, value in stored.items()
        if value != teacher.options[key]
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


def check_fit(teacher: Any, student: Any, pairing: Pairing, same_network: bool, noisy_data: bool | None) -> None:
    """Check that a teacher can teach a student.

    Args:
        teacher: The teacher.
        student: The student.
        pairing: What they share.
        same_network: Whether the student starts from the teacher's weights, so that all sizes of what they share must be
            equal; else only those of the codes.
        noisy_data: Whether the training data have noise; None if unknown.

    Raises:
        OptionError: Naming all that differs.
    """
    keys = [key for key in student.options if key not in pairing.fresh_sizes] if same_network else pairing.code_sizes
    differences = [
        f"{key}: teacher {teacher.options[key]}, student {student.options[key]}"
        for key in keys
        if teacher.options[key] != student.options[key]
    ]
    has_noise = teacher.num_noise_channels > 0 if isinstance(teacher, LightBSRTeacher) else noisy_data
    if noisy_data is not None and noisy_data != has_noise:
        differences.append(
            f"prior_channels: the teacher's prior has {teacher.num_noise_channels} noise channels, the training data "
            f"{'have noise' if noisy_data else 'have no noise'}"
        )
    if differences:
        raise OptionError(
            "the teacher does not fit (teacher, network_g, datasets.train). " + "; ".join(differences) + "."
        )


def start_from_teacher(student: Any, teacher: Any, pairing: Pairing) -> None:
    """Copy the teacher's weights and BatchNorm statistics, all that the two share."""
    state_dict = dict(student.state_dict())
    for key, value in teacher.state_dict().items():
        for theirs, own in pairing.shared:
            ours = own + key.removeprefix(theirs)
            if key.startswith(theirs) and not ours.startswith(pairing.fresh or ("\0",)):
                state_dict[ours] = value
    student.load_state_dict(state_dict)
