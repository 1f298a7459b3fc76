"""``lightbsr export``: from a training's checkpoint to files that others can use."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightbsr_arch.display import printable
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.saving import new_file
from lightbsr_arch.weights.checkpoints import read_checkpoint
from lightbsr_arch.weights.containers import is_regular_file, path_of
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.model_files import Model, bundled_model, load_model, save_model
from lightbsr_arch.weights.training_summary import card_of_training

_EXTENSIONS = {
    ".safetensors": "the model file of `lightbsr infer` and of spandrel",
    ".pth": "for BasicSR's load_network",
    ".onnx": "for onnxruntime and others",
    ".pt2": "for torch.export.load",
}


_ANY_NETWORK = (".safetensors", ".pth")
"""Files of networks that `lightbsr infer` does not run either, such as those of bursts."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        OptionError: Something is wrong with what was given.
        CommandFailed: An export differs from the network.
    """
    parser = argparse.ArgumentParser(
        prog="lightbsr export",
        description="Make files of a trained student that load without this training: "
        + "; ".join(f"{extension} {what}" for extension, what in _EXTENSIONS.items())
        + ". What a checkpoint says of its training goes into them.",
    )
    add = parser.add_argument
    add("checkpoint", help="of a training (the averaged copy is preferred), of a published code, or a model file")
    add("-o", "--output", nargs="+", required=True, metavar="FILE", help=f"one or more, by {', '.join(_EXTENSIONS)}")
    add("--precision", choices=("fp32", "fp16"), default="fp32", help="of ONNX (default: %(default)s)")
    add("--setting", help="the degradation that it was trained for (default: as the checkpoint says)")
    add("--licence", help="of the weights (default: as the file says, else not stated)")
    add(
        "--probe", metavar="IMAGES", help="folder of sharp images, or `bundled`: store what can be read off the encoder"
    )
    add(
        "--probe-test",
        metavar="IMAGES",
        help="others, not used in training, on which its error is measured (default: a share of --probe's)",
    )
    add("--overwrite", action="store_true", help="replace files that are there")
    args = parser.parse_args(arguments)
    outputs = [path_of(output) for output in args.output]
    _check_outputs(outputs, args.overwrite)
    source = bundled_model(args.checkpoint) or path_of(args.checkpoint)
    if not is_regular_file(source):
        raise MissingFileError(f"there is no checkpoint {printable(args.checkpoint, 1000)}.")
    if any(output.exists() and output.samefile(source) for output in outputs):
        raise OptionError(f"{source}: would be replaced by its own export; name another file.")
    model = load_model(source, helpers=all(output.suffix.lower() in _ANY_NETWORK for output in outputs))
    card = _card(model, source)
    card = replace(card, setting=args.setting or card.setting, licence=args.licence or card.licence)
    if args.probe is not None:
        card = replace(card, probe=_probe(model, card, args.probe, args.probe_test))
    elif args.probe_test is not None:
        raise OptionError("--probe-test: names the images that a probe is tested on; give --probe too.")
    for output in outputs:
        note = _write(output, replace(model, card=card), args.precision)
        print(f"{output}: {output.stat().st_size / 1e6:.2f} MB{note}")
    print(f"{dict(model.options)}; setting: {printable(card.setting)}; licence: {printable(card.licence)}")


def _check_outputs(outputs: Sequence[Path], overwrite: bool) -> None:
    for output in outputs:
        if output.suffix.lower() not in _EXTENSIONS:
            raise OptionError(f"-o {output}: expected a name that ends with one of {', '.join(_EXTENSIONS)}.")
        if output.exists() and not overwrite:
            raise OptionError(f"{output} is there already; --overwrite replaces it.")


def _write(output: Path, model: Model, precision: Any) -> str:
    """Write one file; returns notes on it."""
    state_dict = model.net.state_dict()
    extension = output.suffix.lower()
    metadata = model.card.metadata(model.options)
    if extension == ".safetensors":
        save_model(output, state_dict, model.card)
        return ""
    if extension == ".onnx":
        from lightbsr_arch.export.onnx_file import save_onnx

        difference = save_onnx(output, model.net, metadata, precision)
        return f", {precision}, largest difference to torch {difference:.1e}"
    with new_file(output) as file:
        if extension == ".pth":
            torch.save({"params": state_dict, "lightbsr": metadata}, file)
        else:
            from lightbsr_arch.export.exportable import export_program

            torch.export.save(export_program(model.net), file, extra_files={"lightbsr.json": json.dumps(metadata)})
    return ""


def _card(model: Model, source: Path) -> ModelCard:
    """The file's own card; of a training's checkpoint, what it says of the training."""
    said = read_checkpoint(source).get("lightbsr")
    if not isinstance(said, Mapping):
        return model.card
    try:
        if said.get("network"):  # an export for BasicSR
            return ModelCard.of(said)
        return card_of_training(said)
    except ValueError as error:
        reason = str(error).rstrip(".")
        print(f"{source}: what it says of its training cannot be read and is left out ({reason}).", file=sys.stderr)
        return model.card


def _probe(model: Model, card: ModelCard, images: str, test_images: str | None) -> Any:
    # Degrading is what trainings do; this package knows nothing of it.
    try:
        from lightbsr_model.evaluation.probe_fitting import fit_probe
    except ImportError as error:
        raise OptionError(f"--probe needs what trainings need: {error}") from error
    return fit_probe(model.net, card.setting, images, test_images=test_images)
