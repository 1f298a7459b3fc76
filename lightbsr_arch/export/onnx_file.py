"""ONNX files, checked against torch before they are kept."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.export.exportable import export_program
from lightbsr_arch.saving import write_whole

CHECKED_SIZES = ((1, 17, 23), (2, 41, 35), (1, 64, 61))
"""Batch, height and width at which ONNX and torch are compared."""

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference, of values in [0, 1]."""


def save_onnx(
    path: Path, net: nn.Module, metadata: Mapping[str, str], precision: Literal["fp32", "fp16"] = "fp32"
) -> float:
    """Write a network as ONNX: input ``lq`` (N, 3, H, W), output ``sr``, both float32, all of N, H and W free.

    Args:
        path: A ``.onnx``; replaced when the new file is whole and checked.
        net: Any student of the registry, in evaluation mode, in float32 on the CPU.
        metadata: What the file says of it.
        precision: Of weights and computation.

    Returns:
        The largest difference to torch in float32 over ``CHECKED_SIZES``.

    Raises:
        OptionError: The extra ``export`` is not installed.
        CommandFailed: The difference is larger than ``TOLERANCE``.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"{', '.join(missing)}: not installed; ONNX needs the extra `export`: pip install lightbsr[export]"
        )
    narrow = copy.deepcopy(net).half() if precision == "fp16" else net
    with _quiet():
        program = torch.onnx.export(
            export_program(narrow), dynamo=True, input_names=["lq"], output_names=["sr"], verbose=False
        )
    if program is None:
        raise CommandFailed("torch.onnx.export gave no model.")
    model = program.model_proto
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content = model.SerializeToString()
    difference = _difference(content, net)
    if not difference <= TOLERANCE[precision]:
        raise CommandFailed(
            f"{path}: onnxruntime and torch differ by {difference:.2g}, more than {TOLERANCE[precision]}: not written."
        )
    write_whole(path, content)
    return difference


def _difference(content: bytes, net: nn.Module) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for count, height, width in CHECKED_SIZES:
        lq = torch.rand(count, 3, height, width, generator=generator)
        with torch.inference_mode():
            expected = net(lq).numpy()
        (output,) = session.run(["sr"], {"lq": lq.numpy()})
        worst = max(worst, float(np.abs(output - expected).max())) if np.isfinite(output).all() else float("inf")
    return worst


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """The exporter logs its steps, and packages that it does not find."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
