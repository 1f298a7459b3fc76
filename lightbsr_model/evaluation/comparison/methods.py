"""The methods of a comparison: a BasicSR model around any arch, or a folder of existing SR images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger, tensor2img
from torch import Tensor, nn

from lightbsr_arch import __version__
from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.fingerprint import weights_sha256
from lightbsr_model.data.decoding import RGBImage, decode_rgb
from lightbsr_model.data.degrading import lr_image, pixels_sha256
from lightbsr_model.evaluation.model_entries import ModelEntry, model_type_of, network_of
from lightbsr_model.training.adaptation import adapted_to_batch, build_adaptation


class NetworkRestoration:
    """A network, run by BasicSR's model class as in its tests.

    Args:
        entry: The network and its checkpoint.
        scale: Scale factor.
        device: Device of the network.

    Raises:
        OptionError: The checkpoint belongs to another network.
    """

    def __init__(self, entry: ModelEntry, scale: int, device: torch.device) -> None:
        # Before BasicSR uses it: its models log whole networks.
        get_root_logger().setLevel("WARNING")
        network = network_of(entry)
        self.model_type = entry.model_type or model_type_of(network["type"])
        self.model: Any = build_model(
            {
                "name": entry.name,
                "model_type": self.model_type,
                "num_gpu": 1 if device.type == "cuda" else 0,
                "is_train": False,
                "dist": False,
                "rank": 0,
                "world_size": 1,
                "manual_seed": 0,
                "scale": scale,
                "network_g": dict(network),
                "path": {},
            }
        )
        weights = "none"
        if entry.path is not None:
            state_dict = load_state_dict(Path(entry.path).expanduser(), entry.param_key)
            try:
                self.model.net_g.load_state_dict(state_dict)
            except RuntimeError as error:
                raise OptionError(
                    f"models, {entry.name}: {entry.path} does not fit {network['type']}: {error}"
                ) from error
            weights = weights_sha256(state_dict)
        self.net: nn.Module = self.model.net_g
        # Not by `val`, which BasicSR's own models read only where its functions are patched.
        self.adaptation = build_adaptation(entry.adapt)
        facts = [network, self.model_type, weights, scale, device.type, __version__]
        if entry.adapt is not None:
            facts.append(entry.adapt)
        # What decides its images: a change of it makes earlier ones stale.
        self.fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def restore(self, sample: Mapping[str, Any], place: Mapping[str, str]) -> RGBImage:
        """Restore a sample as BasicSR's validation does: feed, test, round.

        Args:
            sample: ``lq``, ``gt``, ``kernel`` and ``noise_level`` of the benchmark data set.
            place: ``set``, ``preset`` and ``image``, by name.

        Returns:
            (H, W, 3), 0..255.
        """
        self.model.feed_data({key: value[None] if torch.is_tensor(value) else [value] for key, value in sample.items()})
        try:
            if self.adaptation is not None:
                self.model.net_g = adapted_to_batch(self.adaptation, self.model, self.net)
            self.model.test()
        finally:
            self.model.net_g = self.net
        image = tensor2img([self.model.get_current_visuals()["result"]])
        return image[:, :, ::-1].copy()

    def represent(self, sample: Mapping[str, Any], code: str | None = None) -> Tensor:
        """The network's representation of a sample's degradation, as one vector.

        Args:
            sample: As for :meth:`restore`.
            code: Dotted name of a module whose output to use instead.

        Raises:
            OptionError: The network has no such encoder or module.
        """
        self.model.feed_data({key: value[None] if torch.is_tensor(value) else [value] for key, value in sample.items()})
        self.net.eval()
        if code is not None:
            return self._output_of(code)
        if not hasattr(self.net, "represent"):
            names = ", ".join(name for name, _ in self.net.named_children())
            raise OptionError(
                f"{type(self.net).__name__} has no `represent`: set `code` to the module whose output is the code (its parts: "
                f"{names})."
            )
        represent: Callable[[Any], Tensor] = getattr(
            self.model, "represent_batch", lambda net: net.represent(self.model.lq)
        )
        with torch.no_grad():
            return represent(self.net)[0].float().cpu()

    def _output_of(self, code: str) -> Tensor:
        try:
            module = self.net.get_submodule(code)
        except AttributeError as error:
            names = ", ".join(name for name, _ in self.net.named_children())
            raise OptionError(
                f"code: {type(self.net).__name__} has no module {code!r} (its parts: {names})."
            ) from error
        seen: list[Tensor] = []
        hook = module.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            self.model.test()
        finally:
            hook.remove()
        if not seen or not torch.is_tensor(seen[0]) or seen[0].dim() not in (2, 4):
            raise OptionError(
                f"code: expected {code!r} to return (1, C) or (1, C, H, W), got {type(seen[0]) if seen else None}."
            )
        vector = seen[0].mean(dim=(2, 3)) if seen[0].dim() == 4 else seen[0]
        return vector[0].float().cpu()

    def restore_with_gradient(self, sample: Mapping[str, Tensor]) -> Tensor:
        """One forward pass in evaluation mode with gradient, for counting parameters."""
        self.model.feed_data({key: value[None] for key, value in sample.items()})
        self.net.eval()
        restore: Callable[[Any], Tensor] = getattr(self.model, "restore_batch", lambda net: net(self.model.lq))
        return restore(self.net)


class FinishedImages:
    """Existing SR images.

    Args:
        entry: Their folder, and the LR images that they were made from.
    """

    net = None

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.folder = Path(str(entry.results)).expanduser()
        facts = [str(self.folder.resolve()), entry.results_tmpl, entry.lr]
        self.fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def restore(self, sample: Mapping[str, Any], place: Mapping[str, str]) -> RGBImage:
        """Read an image, after comparing its LR image with ours if that is available.

        Raises:
            MissingFileError: An image is missing.
            ImageError: Its size differs from the GT image's, or it was made from another LR image.
        """
        if self.entry.lr is not None:
            lr_path = Path(self.entry.lr).expanduser() / self.entry.results_tmpl.format(**place)
            if pixels_sha256(self._read(lr_path, "lr")) != pixels_sha256(lr_image(sample)):
                raise ImageError(
                    f"models, {self.entry.name}: {lr_path} is another LR image than the one that the other methods restore; "
                    "make its SR images from the LR images that `lightbsr data degrade` writes."
                )
        path = self.folder / self.entry.results_tmpl.format(**place)
        image = self._read(path, "results")
        height, width = sample["gt"].shape[1:]
        if image.shape[:2] != (height, width):
            raise ImageError(
                f"models, {self.entry.name}: {path} is {image.shape[1]}x{image.shape[0]}, expected {width}x{height}, the GT "
                "image cropped to a multiple of the scale."
            )
        return image

    def _read(self, path: Path, key: str) -> RGBImage:
        if not path.is_file():
            raise MissingFileError(
                f"models, {self.entry.name}, {key}: there is no {path} (results_tmpl is {self.entry.results_tmpl!r})."
            )
        return decode_rgb(path.read_bytes(), str(path))[0]


def open_method(entry: ModelEntry, scale: int, device: torch.device) -> NetworkRestoration | FinishedImages:
    """Open one of the methods of a comparison."""
    return FinishedImages(entry) if entry.results is not None else NetworkRestoration(entry, scale, device)
