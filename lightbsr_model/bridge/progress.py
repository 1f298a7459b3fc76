"""What a run shows: the head of its log, a progress bar on a terminal, learning rates and an image in TensorBoard."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import basicsr
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lightbsr_arch import __version__
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_model.option_files.whole_options import whole_text


class Progress:
    """A progress bar with iterations, losses, learning rate and remaining time, on rank 0 of a run on a terminal."""

    def __init__(self, opt: Mapping[str, Any], total: int) -> None:
        self._bar: Any = None
        self._redirect: Any = None
        if opt["rank"] == 0 and sys.stderr.isatty():
            self._bar = tqdm(total=total, unit="it", dynamic_ncols=True)
            self._redirect = logging_redirect_tqdm([logging.getLogger("basicsr")])
            self._redirect.__enter__()

    def start_at(self, iteration: int) -> None:
        """Begin at any iteration of a run."""
        if self._bar is not None:
            self._bar.initial = self._bar.n = iteration
            self._bar.refresh()

    def show(self, iteration: int, figures: Mapping[str, float]) -> None:
        """Show an iteration as done, with its losses and learning rate."""
        if self._bar is not None:
            self._bar.update(iteration - self._bar.n)
            self._bar.set_postfix({key: f"{value:.3g}" for key, value in figures.items()}, refresh=False)

    def close(self) -> None:
        """Release the terminal."""
        if self._bar is not None:
            self._redirect.__exit__(None, None, None)
            self._bar.close()
            self._bar = None


def first_page(opt: Mapping[str, Any], device: torch.device) -> str:
    """The head of the log: versions, devices, and the options with the defaults of all classes that they name."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return "\n".join(
        [
            f"lightbsr {__version__}, BasicSR {basicsr.__version__}, Python {platform.python_version()}, "
            f"torch {torch.__version__}, torchvision {_version('torchvision')}, numpy {_version('numpy')}, "
            f"OpenCV {_version('opencv-python')}, lmdb {_version('lmdb')}",
            f"{device.type} ({name}), {opt['world_size']} processes, {torch.get_num_threads()} threads, "
            f"deterministic: {torch.are_deterministic_algorithms_enabled()}",
            "Options in force, defaults included:",
            whole_text(opt),
        ]
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def add_rates(tb_logger: Any, model: Any, iteration: int) -> None:
    """Write learning rates to TensorBoard, where BasicSR writes only losses and metrics."""
    if tb_logger is not None:
        for number, rate in enumerate(model.get_current_learning_rate()):
            tb_logger.add_scalar(f"rates/group_{number}", rate, iteration)


def add_picture(tb_logger: Any, name: str, visuals: Mapping[str, Any], iteration: int) -> None:
    """Write the first image of a validation to TensorBoard: LR, bicubic, SR and GT side by side."""
    if tb_logger is None or "lq" not in visuals or "result" not in visuals:
        return
    lq, sr = visuals["lq"][:1, :3].float(), visuals["result"][:1, :3].float()
    scale = sr.shape[-1] // lq.shape[-1]
    panels = [lq.repeat_interleave(scale, 2).repeat_interleave(scale, 3), BicubicUpsampler(scale)(lq), sr]
    if "gt" in visuals and visuals["gt"].shape == sr.shape:
        panels.append(visuals["gt"].float())
    tb_logger.add_image(f"pictures/{name}: LR, bicubic, SR, GT", torch.cat(panels, dim=3)[0].clamp(0, 1), iteration)
