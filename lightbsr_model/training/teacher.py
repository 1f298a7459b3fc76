"""A frozen teacher for a student, checked to fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from lightbsr_arch import infer_options
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.methods.base import Pairing
from lightbsr_arch.methods.registry import network, pairings
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.fit import differences
from lightbsr_model.degradation.base import Degradation


def pairing_of(student: type[Any] | None) -> Pairing:
    """The pairing of a student's class.

    Raises:
        OptionError: Nothing teaches it.
    """
    known = list(pairings())
    for pairing in known:
        if student is not None and student is network(pairing.student):
            return pairing
    *first, last = (pairing.student for pairing in known)
    names = f"{', '.join(first)} or {last}"
    got = None if student is None else student.__name__
    raise OptionError("network_g.type", f"expected {names} as the student of a teacher, got {got!r}.")


def load_teacher(teacher_opt: Mapping[str, Any], pairing: Pairing) -> Any:
    """Build and load a teacher, frozen and in evaluation mode.

    Args:
        teacher_opt: ``network`` (its ``type`` and arguments), ``path`` (its checkpoint) and optionally ``param_key``.
        pairing: What the student needs.

    Raises:
        MissingFileError: There is no checkpoint.
        OptionError: The checkpoint is of another network; every difference is named.
    """
    name = pairing.teacher
    if "network" not in teacher_opt or not teacher_opt.get("path"):
        raise OptionError(
            "teacher",
            f"expected the keys `network` (type: {name}, scale, ...) and `path` (its checkpoint), "
            f"got {', '.join(teacher_opt) or 'nothing'}. Train one first: {pairing.recipe}.",
        )
    path = teacher_opt["path"]
    try:
        state_dict = load_state_dict(path, teacher_opt.get("param_key"))
    except FileNotFoundError as error:
        raise MissingFileError(
            "teacher.path", f"{error}. Train a teacher first ({pairing.recipe}), or name its checkpoint here."
        ) from error
    network_opt = dict(teacher_opt["network"])
    # Not by build_network: it logs, and BasicSR's logger must not be asked for before its file is known.
    try:
        cls = ARCH_REGISTRY.get(str(network_opt.pop("type", None)))
    except KeyError:
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, cast(type, network(name)))):
        raise OptionError("teacher.network.type", f"expected {name}, got {teacher_opt['network'].get('type')!r}.")
    teacher: Any = cls(**network_opt)
    for part in pairing.parts:
        state_dict |= _part_of_teacher(teacher, part, teacher_opt, state_dict)
    try:
        stored = infer_options(state_dict)
    except ValueError as error:
        raise OptionError("teacher.path", f"{path}: {error}") from error
    stored_type = stored.pop("type")
    if stored_type != name:
        whose = "a student's checkpoint" if stored_type == pairing.student else "the checkpoint of another network"
        raise OptionError("teacher.path", f"{path} is {whose} ({stored_type}), not a {name}'s.")
    differences = [
        f"{key}: {value} in the file, {teacher.options.get(key)} in teacher.network"
        for key, value in stored.items()
        if value != teacher.options.get(key)
    ]
    if differences:
        raise OptionError("teacher.path", f"{path} does not fit teacher.network. " + "; ".join(differences) + ".")
    teacher.load_state_dict(state_dict)
    return teacher.requires_grad_(False).eval()


def _part_of_teacher(
    teacher: Any, part: str, teacher_opt: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a part that the teacher's checkpoint lacks, from a file of its own; none where it has them."""
    key = f"{part}_path"
    if any(name.startswith(f"{part}.") for name in state_dict):
        return {}
    if teacher_opt.get(key) is None:
        raise OptionError(
            f"teacher.{key}",
            f"missing; {teacher_opt['path']} has no weights of the teacher's part `{part}`: name their file.",
        )
    weights = load_part(getattr(teacher, part), f"teacher.{key}", teacher_opt[key])
    return {f"{part}.{name}": value for name, value in weights.items()}


def load_part(part: Any, key: str, path: str | Path, param_key: str | None = None) -> dict[str, Tensor]:
    """Read the weights of a network that is a part of another one.

    Args:
        part: The network; its ``options`` are what a state dict shows of it. It is not changed.
        key: The option that names the file.
        path: The file.
        param_key: Entry of the checkpoint; None takes params_ema where there is one, else params.

    Raises:
        MissingFileError: There is no such file.
        OptionError: It is of another network or of other sizes; every difference is named.
    """
    try:
        state_dict = load_state_dict(path, param_key)
    except FileNotFoundError as error:
        raise MissingFileError(key, f"{error}.") from error
    try:
        stored = infer_options(state_dict)
    except ValueError as error:
        raise OptionError(key, f"{path}: {error}") from error
    expected = {"type": type(part).__name__, **part.options}
    found = [
        f"{name}: {value} in the file, {expected.get(name)} expected"
        for name, value in stored.items()
        if value != expected.get(name)
    ]
    if stored["type"] != expected["type"]:
        raise OptionError(
            key, f"{path} is the checkpoint of another network, {stored['type']}, not {expected['type']}."
        )
    if found or (left := differences(part.state_dict(), state_dict)):
        raise OptionError(key, f"{path} does not fit. " + ("; ".join(found) or left) + ".")
    return state_dict


def check_fit(
    teacher: Any, student: Any, pairing: Pairing, same_network: bool, degradation: Degradation | None
) -> None:
    """Check that a teacher can teach a student.

    Args:
        teacher: The teacher.
        student: The student.
        pairing: What they share.
        same_network: Whether the student starts from the teacher's weights, so that all sizes of what they share must be
            equal; else only those of the codes.
        degradation: What degrades the training data; None if unknown.

    Raises:
        OptionError: Naming all that differs.
    """
    keys = [key for key in student.options if key not in pairing.fresh_sizes] if same_network else pairing.code_sizes
    differences = [
        f"{key}: teacher {teacher.options[key]}, student {student.options[key]}"
        for key in keys
        if teacher.options[key] != student.options[key]
    ]
    if degradation is not None:
        differences += prior_differences(teacher, degradation)
    if differences:
        raise OptionError(
            "the teacher does not fit (teacher, network_g, datasets.train). " + "; ".join(differences) + "."
        )


def prior_differences(teacher: Any, degradation: Degradation) -> list[str]:
    """Why a teacher's prior is not that of some degradation; nothing of one that has no prior."""
    told = prior_problem(
        getattr(teacher, "prior", None), getattr(teacher, "options", {}).get("prior_channels"), degradation
    )
    if told is not None:
        return [f"{told[0]}: {told[1]}"]
    noise_channels = getattr(teacher, "num_noise_channels", None)
    if noise_channels is None or degradation.is_noisy == (noise_channels > 0):
        return []
    return [
        f"prior_channels: the teacher's prior has {noise_channels} noise channels, the training data "
        f"{'have noise' if degradation.is_noisy else 'have no noise'}"
    ]


def prior_problem(prior: str | None, channels: int | None, degradation: Degradation) -> tuple[str, str] | None:
    """What of a teacher's prior does not fit a degradation: the argument, and why; None if it fits.

    Args:
        prior: ``kernel`` or ``parameters``; None for a network that has no prior.
        channels: Its length.
        degradation: Of the data.
    """
    number = len(degradation.vector_names())
    if prior == "parameters" and channels != number:
        return (
            "prior_channels",
            f"the degradation has {number} parameters: set prior_channels: {number}, got {channels}",
        )
    if prior == "kernel" and "kernel" not in degradation.names:
        return "prior", f"the degradation is more than one kernel: set prior: parameters and prior_channels: {number}"
    return None


def start_from_teacher(student: Any, teacher: Any, pairing: Pairing) -> None:
    """Copy the teacher's weights and BatchNorm statistics, all that the two share."""
    state_dict = dict(student.state_dict())
    for key, value in teacher.state_dict().items():
        for theirs, own in pairing.shared:
            ours = own + key.removeprefix(theirs)
            if key.startswith(theirs) and not ours.startswith(pairing.fresh or ("\0",)):
                state_dict[ours] = value
    student.load_state_dict(state_dict)
