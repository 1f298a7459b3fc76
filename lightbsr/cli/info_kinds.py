"""What kind of file one is, by what lies in it; nothing of it is run."""

from __future__ import annotations

import io
import mmap
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lightbsr_arch.display import printable
from lightbsr_arch.export.onnx_metadata import read_onnx_metadata
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.registry import method_of_published_weights, method_with, method_with_helper
from lightbsr_arch.weights.checkpoints import load_state_dict, read_checkpoint
from lightbsr_arch.weights.containers import LARGEST_PICKLE, Archive, is_archive, is_regular_file, is_safetensors
from lightbsr_arch.weights.identify import infer_options
from lightbsr_arch.weights.model_card import FORMAT, NOT_STATED, ModelCard, json_object
from lightbsr_arch.weights.model_files import read_card
from lightbsr_arch.weights.pickle_scan import imported_names

_SIZES = {
    "num_feat": "{} features",
    "num_group": "{} groups",
    "num_block": "{} blocks each",
    "num_encoder_feat": "{} in the encoder",
    "steps": "{} steps",
    "image_skip": "image skip",
    "tail_activation": "tail activation {}",
}
_PICKLE_START = b"\x80"
_HARMLESS = ("torch", "collections", "numpy", "_codecs", "builtins.set", "argparse.Namespace")
"""Whose names a pickle of tensors and plain values may have. What is loaded is decided by torch, not by this list."""


@dataclass(frozen=True)
class Told:
    """What is known of a file."""

    kind: str
    details: Mapping[str, str] = field(default_factory=dict)
    sound: bool = True
    """False for what is damaged, holds code, or is no model."""
    network: Mapping[str, Any] | None = None
    """The options of the network whose weights it holds, where it is one of this package."""


def describe(path: Path) -> Told:
    """Tell what a file is.

    Args:
        path: Of any file or folder.
    """
    if os.path.isdir(path):  # noqa: PTH112 - pathlib's raises for a name that is too long
        return Told("a folder", sound=False)
    if not os.path.lexists(path):
        return Told("there is no such file, and no model of that name in the package", sound=False)
    if not is_regular_file(path):
        return Told("a pipe, a device or a link to nothing, not a file", sound=False)
    try:
        return _describe_file(path)
    except (MemoryError, RecursionError) as error:
        return Told("a file that takes more memory than there is", {"reason": type(error).__name__}, sound=False)


def _describe_file(path: Path) -> Told:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        return Told(f"cannot be read ({error.strerror})", sound=False)
    if not start:
        return Told("an empty file", sound=False)
    if path.suffix.lower() == ".safetensors" or is_safetensors(start):
        return _safetensors(path)
    if is_archive(start):
        return _archive(path)
    if start.startswith(_PICKLE_START):
        return _pickle(path)
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    return _no_model(path, start)


def _safetensors(path: Path) -> Told:
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        return Told("a damaged safetensors file", {"reason": str(error)}, sound=False)
    told = _weights(path, content, "")
    try:
        card = read_card(path, told.network)
    except ValueError as error:
        return Told(f"{told.kind}, whose card is damaged", {**told.details, "reason": str(error)}, sound=False)
    if card is None:
        return Told(f"a safetensors file, {told.kind}", told.details, told.sound)
    return Told(f"a model file of lightbsr {printable(card.version, 40)}", {**told.details, **_card(card)}, told.sound)


def _card(card: ModelCard) -> dict[str, str]:
    return {
        "setting": printable(card.setting),
        "licence": printable(card.licence),
        "training": printable(", ".join(f"{key} {value}" for key, value in card.training.items()) or NOT_STATED, 1000),
        "probe": "none" if card.probe is None else printable(", ".join(card.probe.readings)),
    }


def _archive(path: Path) -> Told:
    """What ``torch.save`` and ``torch.export.save`` write."""
    try:
        archive = Archive(path)
    except ValueError as error:
        return Told(
            "a damaged archive, or one that is cut short, encrypted or packed too tightly",
            {"reason": str(error)},
            sound=False,
        )
    names = [entry.filename for entry in archive.entries]
    if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
        kind = "a graph for torch.export.load"
        try:
            said = archive.read_json("extra/lightbsr.json")
        except ValueError as error:
            return Told(f"{kind} whose metadata are damaged", {"reason": str(error)}, sound=False)
        return _exported(kind, said)
    if any("/code/" in name for name in names):
        return Told("a TorchScript archive: it holds code, which was not run", sound=False)
    if any(name.endswith("data.pkl") for name in names):
        return _checkpoint(path)
    return Told("an archive that is no model", {"holds": printable(", ".join(names[:3]))}, sound=False)


def _exported(kind: str, said: Mapping[str, Any]) -> Told:
    if said.get("format") != FORMAT:
        return Told(f"{kind}, not of this package")
    try:
        card = ModelCard.of(said)
        network = _network(json_object(said, "network"))
    except (ValueError, KeyError) as error:
        return Told(f"{kind} whose metadata are damaged", {"reason": printable(error)}, sound=False)
    return Told(f"{kind}, exported by lightbsr {printable(card.version, 40)}", {"network": network, **_card(card)})


def _pickle(path: Path) -> Told:
    """A bare pickle, or what ``torch.save`` wrote before version 1.6."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        code = _code_in(imported_names(content, len(content)))
    if code:
        return _code(code)
    return _checkpoint(path)


def _code(names: list[str]) -> Told:
    return Told(
        "a pickle with code in it, which was not run",
        {
            "asks for": printable(", ".join(names[:5])),
            "advice": "do not load it with anything, unless you trust who made it",
        },
        sound=False,
    )


def _code_in(names: list[str]) -> list[str]:
    """Those of a pickle's names that are neither tensors nor plain values."""
    return [name for name in names if not name.startswith(_HARMLESS)]


def _checkpoint(path: Path) -> Told:
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        code = _code_in_checkpoint(path)
        if code:
            return _code(code)
        return Told("a damaged checkpoint, or one with more in it than weights", {"reason": str(error)}, sound=False)
    if "optimizers" in content and "schedulers" in content:
        return Told(
            "a training state of BasicSR, to resume from",
            {
                "iteration": _word(content.get("iter")),
                "epoch": _word(content.get("epoch")),
                "weights": "in the models folder beside it",
            },
        )
    entries = [key for key in ("params", "params_ema") if isinstance(content.get(key), Mapping)]
    said = content.get("lightbsr")
    said = said if isinstance(said, Mapping) else {}
    if not entries:
        return _weights(path, content, "a state dict")
    kind = f"a BasicSR checkpoint ({' and '.join(entries)})"
    told = _weights(path, content[entries[-1]], kind)
    if said.get("format") == FORMAT:
        try:
            card = ModelCard.of(said)
        except ValueError as error:
            return Told(f"{kind}, whose card is damaged", {**told.details, "reason": str(error)}, sound=False)
        exporter = f"exported by lightbsr {printable(card.version, 40)}"
        return Told(f"{kind}, {exporter}", {**told.details, **_card(card)}, told.sound)
    details = dict(told.details)
    if said:
        details["trained with"] = f"lightbsr {_word(said.get('version'))}"
        details["iteration"] = _word(said.get("iteration"))
    return Told(told.kind, details, told.sound)


def _word(value: Any) -> str:
    """A number or text of a stranger's; anything else would have to be walked through to be shown."""
    return printable(value, 40) if isinstance(value, (str, int, float)) else "?"


def _code_in_checkpoint(path: Path) -> list[str]:
    """What an archive that was refused would import beside tensors."""
    try:
        archive = Archive(path)
        entry = archive.find("data.pkl")
        pickled = b"" if entry is None else archive.read(entry, LARGEST_PICKLE)
    except ValueError:
        return []
    return _code_in(imported_names(io.BytesIO(pickled), len(pickled)))


def _weights(path: Path, content: Mapping[Any, Any], kind: str) -> Told:
    """Of which network, in which layout."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    published = method_of_published_weights({key.removeprefix("module.") for key in tensors})
    if published is not None:
        kind = f"{kind or 'weights'} in the layout of the published {published.name} code"
    try:
        state_dict = load_state_dict(path)
    except ValueError as error:
        if published is not None:
            return Told(f"{kind}, incomplete", {"reason": str(error)}, sound=False)
        if not tensors:
            return Told(f"{kind or 'a file'} without weights", {"reason": str(error)}, sound=False)
        return Told(f"{kind or 'weights'} that cannot be used", {"reason": str(error)}, sound=False)
    if not state_dict:
        return Told(f"{kind or 'a file'} without weights", sound=False)
    size = sum(value.numel() for value in state_dict.values())
    try:
        options = infer_options(state_dict)
    except ValueError:
        first = printable(", ".join(list(tensors or state_dict)[:3]))
        details = {
            "parameters": f"{size / 1e6:.2f} M in {len(state_dict)} tensors",
            "first": first,
            "use": "`lightbsr infer --network FILE.yml`, if BasicSR has its arch: the file names arch and options",
        }
        return Told(f"{kind or 'weights'} of another network", details)
    details = {"network": _network(options), **_method(options["type"]), "values": f"{size / 1e6:.2f} M"}
    return Told(kind or f"weights of {options['type']}", details, network=options)


def _network(options: Mapping[str, Any]) -> str:
    known = {key: words for key, words in _SIZES.items() if options.get(key) not in (None, False)}
    sizes = [words.format(_word(options[key])) for key, words in known.items()]
    scale = [f"x{_word(options['scale'])}"] if "scale" in options else []
    return ", ".join([_word(options["type"]), *scale, *sizes])


def _method(network: str) -> dict[str, str]:
    """Of which paper a network is, and what runs it."""
    if (helped := method_with_helper(network)) is not None:
        return _words_of(helped, "training alone: it helps other networks to learn, and restores no images")
    method = method_with(network)
    if method is None:
        return {}
    needed = method.needs.get(network)
    if needed is None:
        use = "`lightbsr infer`, `export`, `test` and `compare`"
    elif network in method.command:
        use = f"`lightbsr {method.command[network]}` and `test`; it needs {needed}"
    elif network in method.runs_by:
        use = (
            f"`lightbsr test` and `compare`; it needs {needed} besides the LR image, so `lightbsr infer` cannot run it"
        )
    else:
        use = f"training alone: it needs {needed} besides the LR image; {method.who_restores}"
    return _words_of(method, use)


def _words_of(method: Method, use: str) -> dict[str, str]:
    return {"method": f"{method.name} ({method.paper})", "use": use}


def _onnx(path: Path) -> Told:
    try:
        said = read_onnx_metadata(path)
    except ValueError as error:
        return Told("a damaged ONNX file", {"reason": str(error)}, sound=False)
    return _exported("an ONNX model", said)


def _no_model(path: Path, start: bytes) -> Told:
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            told = f"an image, {image.format}, {image.width}x{image.height}"
        return Told(f"{told}: `lightbsr infer` restores it", sound=False)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in start)
    return Told("a text file, no model" if is_text else "of no kind that this package knows", sound=False)
