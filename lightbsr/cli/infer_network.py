"""``lightbsr infer --network FILE``: any arch that BasicSR finds by its ``type``, with the weights of a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightbsr_arch.display import printable
from lightbsr_arch.errors import RAISED_BY_NETWORKS, MissingFileError, OptionError
from lightbsr_arch.inference.upscaler import Upscaler
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.containers import path_of
from lightbsr_arch.weights.model_files import bundled_model, with_weights
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import OptionDocument
from lightbsr_model.option_files.dotted_names import allow_local_code
from lightbsr_model.option_files.section_check import names_in
from lightbsr_model.option_files.suggestions import nearest
from lightbsr_model.option_files.whole_options import read_options

_SECTION = "network_g"


def upscaler_of(args: argparse.Namespace, **options: Any) -> Upscaler:
    """Make an upscaler of ``--network`` and ``--model``.

    Args:
        args: Of the command line: ``network``, ``model`` and ``allow_local_code``.
        options: The upscaler's.

    Raises:
        OptionError: The YAML is none, names no network or a forbidden one; or the weights are not the network's. The
            message names the file and the key.
    """
    if args.model is None or bundled_model(args.model) is not None:
        raise OptionError("--network describes the network of a checkpoint: name the checkpoint by -m FILE.")
    allow_local_code(args.allow_local_code)
    path = path_of(args.network)
    if not path.is_file():
        raise MissingFileError(f"--network: there is no file {args.network}.")
    document = read_options(path)
    if document.problems:
        raise OptionError("\n".join(f"{args.network}: {problem}" for problem in document.problems))
    # A training's option file, or its section alone, to which `size_multiple` may be added.
    is_option_file = _SECTION in document.options
    section = document.options[_SECTION] if is_option_file else document.options
    if not isinstance(section, Mapping):
        raise OptionError(f"{args.network}: {_SECTION}: expected a section with `type`, got {section!r}.")
    arguments = dict(section)
    scale: Any = document.options.get("scale") if is_option_file else None
    size_multiple: Any = None if is_option_file else arguments.pop("size_multiple", None)
    place = (_SECTION,) if is_option_file else ()
    net = _build(arguments, args.network, document, place)
    model = path_of(args.model)
    try:
        net = with_weights(net, load_state_dict(model))
    except ValueError as error:
        message = str(error)
        raise OptionError(
            message if message.startswith(str(model)) else f"{args.model}: {message} (the network is {args.network}'s)"
        ) from error
    try:
        return Upscaler(net, scale=scale, size_multiple=size_multiple, **options)
    except OptionError as error:
        raise OptionError(f"{args.network}: {error}") from error


def _build(arguments: dict[str, Any], file: str, document: OptionDocument, place: tuple[str, ...]) -> nn.Module:
    name = arguments.pop("type", None)
    problem = None
    try:
        arch = look_up(ARCH_REGISTRY, name)
    except OptionError as error:
        arch, problem = None, str(error)
    if arch is None:
        problem = problem or (
            f"expected the name of an arch or package.module.Class, got {name!r}"
            f"{nearest(str(name), names_in(ARCH_REGISTRY))}"
        )
        raise OptionError(f"{file}: {document.problem((*place, 'type'), problem)}.")
    try:
        net: nn.Module = arch(**arguments)
    except RAISED_BY_NETWORKS as error:
        reason = printable(str(error).partition("\n")[0] or type(error).__name__, 200)
        raise OptionError(
            f"{file}: {document.problem(place, f'{name} cannot be made of these options: {reason}')}."
        ) from error
    return net
