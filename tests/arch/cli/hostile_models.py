"""Model files that nobody's training wrote: each a function that writes one into a folder and returns its path."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from lightbsr_arch.weights.model_card import ModelCard

from support.helpers import Bomb, tiny_student

Maker = Callable[[Path], Path]

ESCAPES = "\x1b[31mred\x07\u202e"
OTHER = "of another network"
"""What a file may be for all that `info` can know."""

NET = tiny_student()
OURS = NET.state_dict()


# torch's archives


def saved(content: Any, name: str = "a.pth", **options: Any) -> Maker:
    """What ``torch.save`` makes of it."""

    def make(folder: Path) -> Path:
        torch.save(content, folder / name, **options)
        return folder / name

    return make


def weights(**changed: Any) -> Maker:
    """A student's checkpoint, some of its weights replaced (dots written as double underscores)."""
    return saved({"params": {**OURS, **{key.replace("__", "."): value for key, value in changed.items()}}})


def doubled(times: int, kind: type = list) -> Any:
    """A list or tuple of the same one twice, of the same one twice, and so on."""
    value = kind(("x",))
    for _ in range(times):
        value = kind((value, value))
    return value


def many_groups(count: int) -> dict[str, torch.Tensor]:
    """Names that speak of so many groups of so many blocks."""
    named = dict(OURS)
    for number in range(count):
        named[f"sr.groups.{number}.conv.weight"] = named[f"sr.groups.0.blocks.{number}.x"] = torch.zeros(1)
    return named


# Archives and pickles, byte by byte


def archive(entries: Mapping[str, bytes], name: str = "a.pth", method: int = zipfile.ZIP_STORED) -> Maker:
    """A zip archive."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", method) as file:
            for entry, content in entries.items():
                file.writestr(entry, content)
        return folder / name

    return make


def patched(make: Maker, change: Callable[[bytes], bytes]) -> Maker:
    """A file with other bytes."""

    def make_and_change(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make_and_change


def encrypted(content: bytes) -> bytes:
    """An archive whose entries all say that they are encrypted."""
    return content.replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0").replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"
    )


def method_99(content: bytes) -> bytes:
    """An archive whose entries are compressed in a way that is not known."""
    return content.replace(b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0")


def pickled(code: bytes, name: str = "a.pth") -> Maker:
    """An archive with this pickle and nothing else."""
    return archive({"a/data.pkl": b"\x80\x02" + code, "a/version": b"3\n", "a/byteorder": b"little"}, name)


def old_pickles(content: bytes) -> Maker:
    """A file in the format of torch before 1.6 that has this as its content."""
    start = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))

    def make(folder: Path) -> Path:
        (folder / "a.pth").write_bytes(start + content)
        return folder / "a.pth"

    return make


def _doubling_tuples() -> bytes:
    code = b"}(K\x01\x85q\x00"
    for number in range(40):
        code += b"h" + bytes([number]) + b"\x86q" + bytes([number + 1])
    return code + b"K\x01u."


# safetensors and its metadata


def raw(content: bytes, name: str) -> Maker:
    """Bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def header(text: str | bytes, length: int | None = None, data: bytes = b"") -> Maker:
    """A safetensors file with this header."""
    encoded = text if isinstance(text, bytes) else text.encode()
    return raw(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data, "a.safetensors")


def card(**fields: str) -> Maker:
    """A whole model file, some of its texts replaced."""
    said = ModelCard().metadata({"type": "LightBSR", **NET.options})

    def make(folder: Path) -> Path:
        save_file(OURS, folder / "a.safetensors", {**said, **fields})
        return folder / "a.safetensors"

    return make


def probe(name: str = "sigma", channels: int = 4 * NET.options["num_encoder_feat"], **changed: Any) -> Maker:
    """A model file with this probe."""
    reading = {"weights": [0.0] * channels, "bias": 1, "low": 0, "high": 4, "error": 1, "r2": 1}
    return card(probe=json.dumps({name: {**reading, **changed}}))


def said(**fields: Any) -> Maker:
    """A whole checkpoint that says this of itself."""
    return saved({"params": OURS, "lightbsr": fields})


def laughs() -> str:
    """A kilobyte of YAML that expands into a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    lines += ["datasets: {train: {preset: mine, degradation: {noise_level: *a9}}}"]
    return "\n".join(lines)


# Graphs: .pt2, ONNX


def graph(text: str | bytes, method: int = zipfile.ZIP_STORED) -> Maker:
    """What ``torch.export`` makes, with this said beside it."""
    content = text if isinstance(text, bytes) else text.encode()
    return archive({"a/archive_format": b"pt2", "a/extra/lightbsr.json": content}, "a.pt2", method)


def onnx(*fields: tuple[int, bytes]) -> bytes:
    """A message of fields with lengths."""
    return b"".join(bytes([number << 3 | 2]) + _varint(len(content)) + content for number, content in fields)


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)


# What is no file


def fifo(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "a.pth")
    return folder / "a.pth"


def dangling(folder: Path) -> Path:
    """A link to nothing."""
    (folder / "a.pth").symlink_to(folder / "nothing")
    return folder / "a.pth"


def too_long(folder: Path) -> Path:
    """A name that no file can have."""
    return folder / ("a" * 300 + ".pth")


_BOMB = b"\0" * (40 * 2**20)
_SHARED = torch.zeros(11_000)
_SAFE = save(OURS)
_SPARSE = torch.zeros(8, 3, 3, 3).to_sparse()

REFUSED: dict[str, tuple[Maker, str]] = {
    "integer names": (saved({"params": {1: torch.ones(2)}}), "one of its keys is of type int"),
    "tuple names": (saved({("a", "b"): torch.ones(2)}), "one of its keys is of type tuple"),
    "one name missing": (saved({**OURS, None: torch.ones(2)}), "one of its keys is of type NoneType"),
    "bytes as names": (saved({"state_dict": {b"a": torch.ones(2)}}), "one of its keys is of type bytes"),
    "zero strides": (weights(sr__head__weight=torch.zeros(1).expand(8, 3, 3, 3)), "share their places"),
    "5,000 M values": (weights(sr__head__weight=torch.zeros(1).expand(8, 3, 15000, 15000)), "share their places"),
    "overlap": (weights(sr__head__weight=torch.zeros(300).as_strided((8, 3, 3, 3), (9, 3, 2, 1))), "share their places"),
    "shared storage": (
        saved({f"w{i}": _SHARED[i : i + 10_000] for i in range(400)}),
        "its tensors claim 16000000 bytes",
    ),
    "quantised": (
        weights(sr__head__weight=torch.quantize_per_tensor(torch.zeros(8, 3, 3, 3), 0.1, 0, torch.qint8)),
        "'sr.head.weight' is a quantised tensor",
    ),
    "sparse": (weights(sr__head__weight=_SPARSE), "'sr.head.weight' is a sparse tensor"),
    "sparse rows": (weights(sr__last__bias=torch.eye(3).to_sparse_csr()), "'sr.last.bias' is a sparse tensor"),
    "meta": (weights(sr__head__weight=torch.zeros(8, 3, 3, 3, device="meta")), "of the device meta, without values"),
    "huge meta": (weights(sr__head__weight=torch.zeros(2**40, device="meta")), "of the device meta, without values"),
    "complex": (weights(sr__head__weight=torch.zeros(8, 3, 3, 3, dtype=torch.complex64)), "of type torch.complex64"),
    "a list": (weights(sr__head__weight=[1.0, 2.0]), "'sr.head.weight' is a list"),
    "a text": (weights(sr__head__weight="x"), "'sr.head.weight' is a str"),
    "a name with escapes": (saved({ESCAPES: 3}), r"\x1b[31mred\x07\u202e"),
    "no dimensions": (weights(sr__head__weight=torch.tensor(1.0)), OTHER),
    "no values": (weights(sr__head__weight=torch.zeros(0, 3, 3, 3)), OTHER),
    "endless and empty": (weights(sr__head__weight=torch.zeros(2**50, 0)), "more than the file holds"),
    "1,000 groups of 1,000 blocks": (saved(many_groups(1000)), OTHER),
    "60 networks": (saved({f"n{i}.sr.head.weight": torch.ones(1) for i in range(60)}), "holds 60 networks"),
    "weights that are a list": (saved({"params": [1, 2]}), ""),
    "nothing": (saved({}), "without weights"),
    "an empty state dict": (saved({"params": {}}), "without weights"),
    "a number": (saved(3), "expected a dictionary, got int"),
    "code": (saved({"params": Bomb(Path("/nowhere"))}), "code in it, which was not run"),
    "code in old pickles": (saved(Bomb(Path("/nowhere")), _use_new_zipfile_serialization=False), "code in it"),
    "old pickles, cut": (patched(saved(OURS, _use_new_zipfile_serialization=False), lambda b: b[:900]), "cut short"),
    "old pickles, weights cut": (
        patched(saved(OURS, _use_new_zipfile_serialization=False), lambda b: b[:-400]),
        "it is damaged",
    ),
    "old pickles, odd": (old_pickles(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."), "builtins.bytearray"),
    "a pickle of today": (raw(pickle.dumps({"a": 1}, 4), "a.pth"), "a pickle that torch.save did not write"),
    "a terabyte asked for": (pickled(b"cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\0\1\x85R."), "builtins.bytearray"),
    "a tuple that takes for ever": (pickled(_doubling_tuples()), "it nests tuples beyond measure"),
    "a million dictionaries": (pickled(b"](" + b"}" * 110_000 + b"e."), "more than 100000 steps"),
    "an empty stack": (pickled(b"s."), "the pickle is damaged"),
    "an empty memo": (pickled(b"h\x07."), "the pickle is damaged"),
    "half a pickle": (pickled(b"}q\0(X\xff\0\0\0abc"), "cut short"),
    "a name with escapes in a pickle": (pickled(b"c\x1b[31m\nred\n."), r"\x1b[31m.red"),
    "encrypted": (patched(pickled(b"}."), encrypted), "is encrypted"),
    "compressed oddly": (patched(pickled(b"}."), method_99), "compressed in a way that torch does not read"),
    "compressed with LZMA": (archive({"a/data.pkl": b"\x80\x02}."}, method=zipfile.ZIP_LZMA), "compressed in a way"),
    "a bomb": (archive({"a/data.pkl": b"\x80\x02}.", "a/data/0": _BOMB}, method=zipfile.ZIP_DEFLATED), "unpacks into"),
    "a bomb of a pickle": (archive({"a/data.pkl": _BOMB}, method=zipfile.ZIP_DEFLATED), "unpacks into"),
    "a large pickle": (archive({"a/data.pkl": _BOMB}), "bytes, more than"),
    "another archive": (archive({ESCAPES: b"x"}), ""),
    "an archive cut short": (patched(saved(OURS), lambda b: b[: len(b) // 2]), "cut short"),
    "a wrong checksum": (patched(saved(OURS), lambda b: b.replace(b"sr.head", b"sr.hood")), "is damaged"),
    "two bytes": (raw(b"\x80\x02", "a.pth"), "cut short"),
    "nothing at all": (raw(b"", "a.pth"), "empty"),
    "a header of 2^60 bytes": (header("{}", 2**60), "its header would have 1152921504606846976 bytes"),
    "a header beyond the end": (header("{}", 3), "its header would have 3 bytes"),
    "a header that nests": (header('{"a":' * 5000), "not a safetensors file"),
    "a header that is no text": (header(b'{"\xff'), "not a safetensors file"),
    "seven bytes": (raw(b"1234567", "a.safetensors"), "ends within its first eight bytes"),
    "a shape that lies": (
        header('{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4]}}', data=b"\0" * 4),
        "not a safetensors file",
    ),
    "an unknown type": (header('{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}', data=b"1234"), "not a safetensors"),
    "safetensors cut short": (raw(_SAFE[:-9], "a.safetensors"), "cut short"),
    "a pipe": (fifo, ""),
    "a link to nothing": (dangling, ""),
    "a name that is too long": (too_long, ""),
    "a graph, encrypted": (patched(graph("{}"), encrypted), "is encrypted"),
    "a graph, compressed oddly": (patched(graph("{}"), method_99), "compressed in a way"),
    "a graph whose card is no JSON": (graph("{"), "is no JSON"),
    "a graph whose card is no text": (graph(b"\xff"), ""),
    "a graph whose card is a list": (graph("[1]"), "is no JSON object"),
    "a graph whose card is null": (graph("null"), "is no JSON object"),
    "a graph whose card nests": (graph("[" * 100_000), "is no JSON"),
    "a graph whose card is a bomb": (graph(b" " * 3_000_000, zipfile.ZIP_DEFLATED), "bytes, more than"),
    "a graph whose card holds numbers": (graph('{"format": "lightbsr", "setting": 3}'), "setting: expected text, got int"),
    "a graph whose network is none": (graph('{"format": "lightbsr", "network": "{}"}'), "'type'"),
    "ONNX, cut": (raw(onnx((7, b"x" * 300))[:-1], "a.onnx"), "cut short"),
    "ONNX without a graph": (raw(onnx((1, b"x")), "a.onnx"), "no graph in it"),
    "ONNX of many fields": (raw(onnx((1, b"")) * 100_001, "a.onnx"), "more fields than a model has"),
    "ONNX whose card is none": (
        raw(onnx((7, b"x"), (14, onnx((1, b"format"), (2, b"lightbsr"))), (14, onnx((1, b"training"), (2, b"[")))), "a.onnx"),
        "training: expected JSON",
    ),
}  # fmt: skip
"""By what is wrong: the file, and what `info` says of it."""

USABLE: dict[str, tuple[Maker, str]] = {
    "a card that is no JSON": (card(training="{"), "training: expected JSON, got '{'"),
    "a card that is a list": (card(training="[1]"), "training: expected a JSON object, got '[1]'"),
    "a card that is null": (card(training="null"), "training: expected a JSON object, got 'null'"),
    "a card that nests": (card(training='{"a":' + "[" * 100_000), "training: JSON that nests beyond measure"),
    "a card that nests a little": (card(training='{"a":' + "[" * 50 + "1" + "]" * 50 + "}"), "nests beyond measure"),
    "a card of a megabyte": (card(setting="x" * 2**20), "setting: text of 1048576 characters"),
    "a probe that nests": (card(probe='{"a":' * 40_000), "probe: JSON that nests beyond measure"),
    "a probe of another network": (probe(channels=3), "its probe is of another network"),
    "a probe with a format": (probe("{x.__class__}"), "expected words as the names"),
    "a probe beyond all numbers": (probe(bias=10**400), "expected finite numbers"),
    "a probe upside down": (probe(low=5), "the smallest value of a probe below the largest"),
    "a checkpoint whose card holds lists": (said(format="lightbsr", network="{}", setting=doubled(40)), "got list"),
    "a checkpoint whose card is text": (saved({"params": OURS, "lightbsr": "x"}), "a BasicSR checkpoint (params)"),
    "an iteration that expands": (said(iteration=doubled(40), version=doubled(40)), "iteration: ?"),
    "a billion laughs": (said(option_file=laughs(), iteration=3), "iteration: 3"),
    "an option file that nests": (said(option_file="[" * 60_000, iteration=3), "iteration: 3"),
    "an option file of a megabyte": (said(option_file="x" * 2**20, iteration=3), "iteration: 3"),
    "an option file that is a list": (said(option_file=doubled(40), iteration=3), "iteration: 3"),
    "escapes in 200 KB": (card(setting=ESCAPES * 18_000), r"setting: \x1b[31mred\x07\u202e\x1b[31m"),
}
"""Whole weights, beside which something is wrong, and what `info` says of it."""
