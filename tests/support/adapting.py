"""Small networks and images to try adaptations on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.methods.lway import LRReconstructor
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.model_files import save_model
from lightbsr_model.adaptation.adaptation_dataset import AdaptationDataset
from lightbsr_model.degradation import isotropic_gaussian_kernels
from lightbsr_model.degradation.pipeline import blur_and_downsample
from lightbsr_model.runtime.random_streams import seeded

from support.helpers import tiny_student

L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
WEIGHTED = {"type": "HighFrequencyWeightedL1Loss", "loss_weight": 1.0}
ALL_LOSSES = {"anchor_opt": L1, "cycle_opt": L1, "code_opt": L1}
GAN = {
    "gan_opt": {
        "type": "GANLoss",
        "gan_type": "lsgan",
        "real_label_val": 1.0,
        "fake_label_val": 0.0,
        "loss_weight": 0.1,
    },
    "optim_d": {"type": "Adam", "lr": 1e-3},
}


def enlarging_student(scale: int = 4) -> Any:
    """A small student that starts from the enlarged image, so that there is something to better."""
    net = tiny_student(scale, image_skip=True)
    with torch.no_grad():
        net.sr.last.weight.mul_(0.02)
        net.sr.last.bias.zero_()
    return net


def photo(name: str = "astronaut", size: int = 256, at: int = 100) -> NDArray[np.uint8]:
    """A part of one of scikit-image's photographs, (size, size, 3)."""
    return np.ascontiguousarray(getattr(skimage.data, name)()[at : at + size, at : at + size])


def low(pixels: NDArray[np.uint8], sigma: float = 3.0, noise: float = 0.0, scale: int = 4) -> NDArray[np.uint8]:
    """The LR image of an image: blurred, downsampled, with noise, rounded."""
    gt = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float()
    result = blur_and_downsample(gt, isotropic_gaussian_kernels(torch.tensor([sigma])).float(), scale)
    result = result + noise * torch.randn(result.shape, generator=torch.Generator().manual_seed(0))
    return result[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])
    return path


def reconstructor_file(folder: Path, scale: int = 4) -> str:
    """A checkpoint of a small reconstructor that averages: it degrades, if not as any image was degraded."""
    torch.manual_seed(0)
    path = folder / f"reconstructor_x{scale}.pth"
    torch.save({"params": LRReconstructor(scale, 8, 1, 4).state_dict()}, path)
    return str(path)


def sharp_images(folder: Path) -> str:
    """A folder of three sharp images that are large enough for references."""
    for name in ("chelsea", "coffee", "rocket"):
        write(folder / "sharp" / f"{name}.png", photo(name, 208, 60))
    return str(folder / "sharp")


class TrueDegrader:
    """Degrades as the LR images of :func:`low` were degraded."""

    def __init__(self, sigma: float, scale: int = 4) -> None:
        self.kernel, self.scale = isotropic_gaussian_kernels(torch.tensor([sigma])).float(), scale

    def shrink(self, hr: Tensor, images: Tensor) -> Tensor:
        """Blur and downsample."""
        return blur_and_downsample(hr * 255, self.kernel.expand(len(hr), -1, -1), self.scale) / 255


def loop_options(
    folder: Path, model_type: str, parent: str, network: Mapping[str, Any], **train: Any
) -> dict[str, Any]:
    """Options of a model that adapts, on the CPU, to the LR images of a folder."""
    return {
        "model_type": model_type,
        **{"name": "x", "scale": 4, "num_gpu": 0, "is_train": True, "dist": False, "rank": 0, "world_size": 1},
        "manual_seed": 0,
        "network_g": dict(network),
        "datasets": {
            "train": {
                **{"type": "AdaptationDataset", "dataroot_lq": str(folder)},
                **{"references": str(folder.parent / "sharp"), "scale": 4},
            }
        },
        "path": {},
        "train": {
            "parent": parent,
            "total_iter": 8,
            "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
            **train,
        },
    }


def adapting_files(folder: Path, noise: float = 0.0) -> Path:
    """Fill a folder with what :func:`adapting_options` names: an LR image, references, the parent, a reconstructor."""
    write(folder / "lq/one.png", low(photo(), noise=noise))
    save_model(folder / "parent.safetensors", enlarging_student().state_dict(), ModelCard())
    reconstructor_file(folder)
    sharp_images(folder)
    return folder


def adapting_options(folder: Path, model_type: str, **train: Any) -> dict[str, Any]:
    """Options of a model that adapts to the LR image in a folder of :func:`adapting_files`."""
    train = {"reconstructor": str(folder / "reconstructor_x4.pth"), "pixel_opt": L1, **train}
    parent = train.pop("parent", str(folder / "parent.safetensors"))
    network = {"type": "LightBSR", **enlarging_student().options}
    opt = loop_options(folder / "lq", model_type, parent, network, **train)
    if "gan_opt" in train:
        opt["network_d"] = {"type": "ReferenceDiscriminator", "num_feat": 4, "num_block": 1}
    return opt


def adapting_batch(folder: Path, seed: int = 0, count: int = 2) -> dict[str, Tensor]:
    """A batch of the LR image and references in a folder of :func:`adapting_files`."""
    dataset = AdaptationDataset({"dataroot_lq": str(folder / "lq"), "references": str(folder / "sharp"), "scale": 4})
    with seeded(seed):
        samples = [dataset[0] for _ in range(count)]
    keys = ("lq", "gt", "detail", "image")
    return {key: torch.stack([torch.as_tensor(sample[key]) for sample in samples]) for key in keys}
