"""What kind of file one is, by what lies in it; nothing of it is run."""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from lightbsr_arch.checkpoints import load_state_dict, read_checkpoint
from lightbsr_arch.model_files import FORMAT, NOT_STATED, ModelCard, read_card
from lightbsr_arch.options import infer_options
from lightbsr_arch.published_layouts import find_layout

_SIZES = {
    "num_feat": "{} features",
    "num_group": "{} groups",
    "num_block": "{} blocks each",
    "num_encoder_feat": "{} in the encoder",
}
_PICKLE_START = b"\x80"
_HARMLESS = ("torch", "collections", "numpy", "_codecs", "builtins.set", "argparse.Namespace")
"""Whose names a pickle of tensors and plain values may have. What is loaded is decided by torch, not by this list."""


@dataclass(frozen=True)
class Told:
    """What is known of a file."""

    kind: str
    """In a few words."""
    details: Mapping[str, str] = field(default_factory=dict)
    """By name."""
    sound: bool = True
    """False for what is damaged, holds code, or is no model."""


def describe(path: Path) -> Told:
    """Tell what a file is.

    Args:
        path: Of any file or folder.
    """
    if path.is_dir():
        return Told("a folder", sound=False)
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        return Told(f"cannot be read ({error.strerror})", sound=False)
    if not start:
        return Told("an empty file", sound=False)
    if path.suffix == ".safetensors" or start[8:10] == b'{"':
        return _safetensors(path)
    if start.startswith(b"PK"):
        return _archive(path)
    if start.startswith(_PICKLE_START):
        return _pickle(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    return _no_model(path, start)


def _safetensors(path: Path) -> Told:
    try:
        card = read_card(path)
        content = read_checkpoint(path)
    except ValueError as error:
        return Told("a damaged safetensors file", {"reason": str(error)}, sound=False)
    told = _weights(path, content, "")
    if card is None:
        return Told(f"a safetensors file, {told.kind}", told.details, told.sound)
    return Told(f"a model file of lightbsr {card.version}", {**told.details, **_card(card)}, told.sound)


def _card(card: ModelCard) -> dict[str, str]:
    return {
        "setting": card.setting,
        "licence": card.licence,
        "training": ", ".join(f"{key} {value}" for key, value in card.training.items()) or NOT_STATED,
        "probe": "none" if card.probe is None else ", ".join(card.probe.readings),
    }


def _archive(path: Path) -> Told:
    """What ``torch.save`` and ``torch.export.save`` write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            extra = next((name for name in names if name.endswith("extra/lightbsr.json")), None)
            said = {} if extra is None else json.loads(archive.read(extra))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        return Told("a damaged archive, or one that is cut short", {"reason": str(error)}, sound=False)
    if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
        return _exported("a graph for torch.export.load", said)
    if any("/code/" in name for name in names):
        return Told("a TorchScript archive: it holds code, which was not run", sound=False)
    if any(name.endswith("data.pkl") for name in names):
        return _checkpoint(path)
    return Told("an archive that is no model", {"holds": ", ".join(names[:3])}, sound=False)


def _exported(kind: str, said: Mapping[str, str]) -> Told:
    if said.get("format") != FORMAT:
        return Told(f"{kind}, not of this package")
    try:
        card = ModelCard.of(said)
        network = _network(json.loads(said["network"]))
    except (ValueError, KeyError, TypeError) as error:
        return Told(f"{kind} whose metadata are damaged", {"reason": str(error)}, sound=False)
    return Told(f"{kind}, exported by lightbsr {card.version}", {"network": network, **_card(card)})


def _pickle(path: Path) -> Told:
    """A bare pickle, or what ``torch.save`` wrote before version 1.6."""
    code = _code_in_pickle(path.read_bytes())
    if code:
        return _code(code)
    return _checkpoint(path)


def _code(names: list[str]) -> Told:
    return Told(
        "a pickle with code in it, which was not run",
        {"asks for": ", ".join(names[:5]), "advice": "do not load it with anything, unless you trust who made it"},
        sound=False,
    )


def _code_in_pickle(content: bytes) -> list[str]:
    """What a pickle, or several in a row, would import beside tensors, as far as they say so plainly."""
    names: set[str] = set()
    file = io.BytesIO(content)
    while file.tell() < len(content) and _add_names(file, names):
        pass
    return sorted(name for name in names if not name.startswith(_HARMLESS))


def _add_names(file: io.BytesIO, names: set[str]) -> bool:
    """Of one pickle; tells whether it ended well."""
    strings: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(strings[-2:]))
            elif opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                memo[len(memo) if argument is None else int(argument)] = last
                continue
            elif "GET" in opcode.name:
                argument = memo.get(int(argument or 0))
            last = argument if isinstance(argument, str) else None
            if last is not None:
                strings.append(last)
    except (ValueError, IndexError, EOFError):  # damaged, or what follows is no pickle: what came before counts
        return False
    return True


def _checkpoint(path: Path) -> Told:
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        code = _code_in_checkpoint(path)
        if code:
            return _code(code)
        return Told("a damaged checkpoint, or one with more in it than weights", {"reason": str(error)}, sound=False)
    if "optimizers" in content and "schedulers" in content:
        iteration, epoch = content.get("iter", "?"), content.get("epoch", "?")
        return Told(
            "a training state of BasicSR, to resume from",
            {"iteration": str(iteration), "epoch": str(epoch), "weights": "in the models folder beside it"},
        )
    entries = [key for key in ("params", "params_ema") if isinstance(content.get(key), Mapping)]
    said = content.get("lightbsr")
    said = said if isinstance(said, Mapping) else {}
    if not entries:
        return _weights(path, content, "a state dict")
    kind = f"a BasicSR checkpoint ({' and '.join(entries)})"
    told = _weights(path, content[entries[-1]], kind)
    if said.get("format") == FORMAT:
        card = ModelCard.of({str(key): str(value) for key, value in said.items()})
        return Told(f"{kind}, exported by lightbsr {card.version}", {**told.details, **_card(card)}, told.sound)
    details = dict(told.details)
    if said:
        details["trained with"] = f"lightbsr {said.get('version', '?')}"
        details["iteration"] = str(said.get("iteration", "?"))
    return Told(told.kind, details, told.sound)


def _code_in_checkpoint(path: Path) -> list[str]:
    """What a checkpoint that torch refused would import beside tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return _code_in_pickle(archive.read(pickled))
    except (zipfile.BadZipFile, OSError, StopIteration, EOFError):
        return []


def _weights(path: Path, content: Mapping[str, Any], kind: str) -> Told:
    """Of which network, in which layout."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    layout = find_layout({key.removeprefix("module."): value for key, value in tensors.items()})
    if layout is not None:
        kind = f"{kind or 'weights'} in the layout of the published {layout.method} code"
    try:
        state_dict = load_state_dict(path)
        options = infer_options(state_dict)
    except ValueError as error:
        size = sum(value.numel() for value in tensors.values())
        if layout is not None:
            return Told(f"{kind}, incomplete", {"reason": str(error)}, sound=False)
        if not tensors:
            return Told(f"{kind or 'weights'} without weights", {"holds": ", ".join(map(str, [*content][:3]))}, False)
        first = ", ".join(list(tensors)[:3])
        details = {"parameters": f"{size / 1e6:.2f} M in {len(tensors)} tensors", "first": first}
        return Told(f"{kind or 'weights'} of another network", details)
    size = sum(value.numel() for value in state_dict.values())
    details = {"network": _network(options), "values": f"{size / 1e6:.2f} M"}
    if options["type"] != "LightBSR":
        details["use"] = "`lightbsr test` and `lightbsr compare`; `lightbsr infer` runs students of LightBSR"
    return Told(kind or f"weights of {options['type']}", details)


def _network(options: Mapping[str, Any]) -> str:
    sizes = [words.format(options[key]) for key, words in _SIZES.items() if key in options]
    return f"{options['type']}, x{options['scale']}, {', '.join(sizes)}"


def _onnx(path: Path) -> Told:
    if find_spec("onnx") is None:
        return Told("ONNX by its name; the extra `export` reads it: pip install lightbsr[export]")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        return Told("a damaged ONNX file", {"reason": str(error)}, sound=False)
    if not model.graph.node:
        return Told("a damaged ONNX file", {"reason": "no graph in it"}, sound=False)
    return _exported("an ONNX model", {entry.key: entry.value for entry in model.metadata_props})


def _no_model(path: Path, start: bytes) -> Told:
    from PIL import Image

    try:
        with Image.open(path) as image:
            told = f"a picture, {image.format}, {image.width}x{image.height}"
        return Told(f"{told}: `lightbsr infer` restores it", sound=False)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass
    printable = all(byte >= 32 or byte in b"\t\n\r" for byte in start)
    return Told("a text file, no model" if printable else "of no kind that this package knows", sound=False)
