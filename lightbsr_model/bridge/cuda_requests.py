"""BasicSR's Real-ESRGAN models need CUDA, whatever device a run is on.

``models/realesrnet_model.py:27`` and ``:46`` (``realesrgan_model.py:28`` and ``:47``) call ``.cuda()`` on DiffJPEG, the
sharpening filter and the training pool: without a GPU they stop before the first iteration, and with ``num_gpu: 0`` they mix
devices. ``utils/img_process_util.py:28`` views padded images as one, which fails on a CPU, where padding keeps the layout that
DiffJPEG leaves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.models import realesrgan_model, realesrnet_model
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import img_process_util
from torch import Tensor, nn


def stay_on_their_device() -> None:
    """Answer these requests by the device that the run is on."""
    for module in (img_process_util, realesrgan_model, realesrnet_model):
        module.filter2D = _of_contiguous(module.filter2D)
    for model in (RealESRNetModel, RealESRGANModel):
        for name in ("__init__", "_dequeue_and_enqueue"):
            setattr(model, name, _on_the_device_of_the_run(getattr(model, name)))


def _on_the_device_of_the_run(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        opt = args[0] if args and isinstance(args[0], dict) else self.opt
        if opt.get("num_gpu") != 0 and torch.cuda.is_available():
            return method(self, *args, **kwargs)
        with _no_cuda():
            return method(self, *args, **kwargs)

    return wrapper


def _of_contiguous(filter_2d: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    @functools.wraps(filter_2d)
    def wrapper(img: Tensor, kernel: Tensor) -> Tensor:
        return filter_2d(img.contiguous(), kernel)

    return wrapper


@contextmanager
def _no_cuda() -> Iterator[None]:
    """A context in which ``.cuda()`` leaves tensors and modules where they are."""
    owners: tuple[Any, ...] = (torch.Tensor, nn.Module)
    before = [owner.cuda for owner in owners]
    for owner in owners:
        owner.cuda = lambda self, *_args, **_kwargs: self
    try:
        yield
    finally:
        for owner, method in zip(owners, before, strict=True):
            owner.cuda = method
