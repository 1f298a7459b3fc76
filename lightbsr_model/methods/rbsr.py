"""How RBSR learns: from bursts, by the images after all frames and after some of them."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.camera import Colours, colours_of_packed
from lightbsr_model.losses.flow_aligned import flow_problem, load_spynet
from lightbsr_model.runtime.declared_keys import Iterations, key
from lightbsr_model.runtime.random_streams import derive_seed
from lightbsr_model.training.linear_psnr import LINEAR_PAIR
from lightbsr_model.training.phased_model import CheckedOptions, PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import PhasedOptions

_OF_FLOW_NETWORK = ("flow_iter", "flow_opt", "flow_path")


@dataclass(frozen=True)
class BurstOptions(PhasedOptions):
    """Keys of ``train`` for BurstSRModel."""

    pixel_opt: dict[str, Any] = key("Loss between restored and GT images, both linear.", kind="loss")
    state_loss: bool = key(
        "Take the mean of that loss after all frames and after a number of them that is drawn for each batch.", True
    )
    flow_opt: dict[str, Any] | None = key(
        "Loss between estimated and true flow, which synthetic bursts have; ~ is none.", None, kind="loss"
    )
    flow_path: str | None = key(
        "File of SpyNet's weights that the flow network starts from; ~ starts it at random.", None
    )
    flow_iter: Iterations = key("Iterations in which the flow network learns alone, by flow_opt.", 0, low=0)
    true_flow: bool = key("Align by the true flow instead of the estimated one, as an upper limit.", False)


@MODEL_REGISTRY.register()
class BurstSRModel(PhasedModel):
    """Trains and tests ``network_g`` of type RBSR.

    Reads from a batch ``frames`` (N, T, 4, h, w), ``gt`` (N, 3, 8h, 8w), both linear, and where they are known ``flow``
    (N, T - 1, 2, h, w) and ``colours`` (N, 12), see :class:`~lightbsr_arch.layers.camera.Colours`. With a range of
    ``datasets.train.frames`` each batch has a number of frames that is drawn from it. Validation saves and measures images in
    sRGB; ``calculate_psnr_linear`` measures the linear ones.

    Options, besides those of :class:`PhasedModel`:
        train: See :class:`BurstOptions`.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": BurstOptions}

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """What the flow needs, and data that do not fit."""
        flow_net, flow_iter = check.good("network_g", "flow_net"), check.good("train", "flow_iter") or 0
        if flow_iter and check.good("train", "flow_opt") is None and check.is_good("train", "flow_opt"):
            yield ("train", "flow_iter"), "the flow network learns by flow_opt: give it, or leave out flow_iter"
        for name in _OF_FLOW_NETWORK:
            if flow_net in (None, "affine") and check.good("train", name) and check.is_good("network_g"):
                yield (
                    ("train", name),
                    "network_g has flow_net: affine, which does not learn: leave it out, or take spynet",
                )
        path = check.good("train", "flow_path")
        if (
            path is not None
            and flow_net == "spynet"
            and (problem := flow_problem({"flow": "spynet", "flow_path": path}))
        ):
            yield ("train", "flow_path"), problem[1].rstrip(".")
        data = ("datasets", "train")
        frames, side = check.good(*data, "frames"), check.good(*data, "gt_size")
        least, most = frames if isinstance(frames, list) else (frames, frames)
        if least is not None and least > most:
            yield (*data, "frames"), f"expected [least, most], got {frames}"
        if least == 1 and check.good("train", "flow_opt") is not None:
            yield (*data, "frames"), "a flow is learnt from two frames or more: take 2 as the least"
        if side is not None and side % 8:
            yield (*data, "gt_size"), f"expected a multiple of 8, the scale of a packed frame, got {side}"
        total = check.good("train", "total_iter")
        if total is not None and flow_iter > total:
            yield ("train", "flow_iter"), f"expected at most total_iter, {total}, got {flow_iter}"

    def init_training_settings(self) -> None:
        """Build the flow's loss too.

        Raises:
            OptionError: A loss of the flow without a flow network, or a phase of the flow without a loss.
        """
        train_opt = self.opt["train"]
        flow_opt = train_opt.get("flow_opt")
        self.cri_flow = None if not flow_opt else build_loss(flow_opt).to(self.device)
        learns_flow = getattr(self.net_g, "flow_net", None) is not None
        for name in _OF_FLOW_NETWORK:
            if not learns_flow and train_opt.get(name):
                raise OptionError(
                    f"train.{name}",
                    "network_g has no flow network, so none learns: leave it out, or give network_g flow_net: spynet.",
                )
        if train_opt.get("flow_iter") and self.cri_flow is None:
            raise OptionError("train.flow_opt", "missing; the flow network learns by it for flow_iter iterations.")
        frames = self.opt["datasets"].get("train", {}).get("frames", 14)
        self._frames = (int(frames), int(frames)) if isinstance(frames, int) else (int(frames[0]), int(frames[-1]))
        if self.cri_flow is not None and self._frames[0] == 1:
            raise OptionError("datasets.train.frames", "a flow is learnt from two frames or more: take 2 as the least.")
        if self.opt["dist"] and self._frames[0] == 1 < self._frames[1] and not self.opt.get("find_unused_parameters"):
            raise OptionError(
                "datasets.train.frames",
                f"batches of one frame do not use all weights, which several processes wait for: take [2, {self._frames[1]}], "
                "or find_unused_parameters: true.",
            )
        super().init_training_settings()

    def prepare_start(self) -> None:
        """Start the flow network from SpyNet's weights, unless the network comes from a checkpoint.

        Raises:
            OptionError: The file is missing, or has none.
        """
        path = self.opt["train"].get("flow_path")
        if path is None or self.opt["path"].get("pretrain_network_g"):
            return
        if problem := flow_problem({"flow": "spynet", "flow_path": path}):
            raise MissingFileError("train.flow_path", problem[1])
        self.net_g.get_submodule("flow_net").load_state_dict(load_spynet(path).state_dict())

    def build_phases(self) -> Sequence[Phase]:
        """The flow alone, if it is to learn alone; then all of the network that is used."""
        phases = []
        train_opt = self.opt["train"]
        if train_opt.get("flow_iter"):
            length, flow_net = self.phase_length("flow_iter"), self.net_g.get_submodule("flow_net")
            phases.append(Phase("flow", length, (flow_net,), "estimate_flow", self._flow_losses))
        idle = ["alignment", "flow_net"] if self._frames[1] == 1 else ["flow_net"] if train_opt.get("true_flow") else []
        parts = [part for name, part in self.net_g.named_children() if name not in idle]
        phases.append(Phase("burst", None, tuple(parts), "outputs", self._losses))
        return tuple(phases)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch to the device; of a training batch as many frames as its iteration draws.

        Raises:
            OptionError: The batch has no frames.
        """
        if "frames" not in data:
            raise OptionError(
                f"a batch has {', '.join(data)}: expected `frames` (SyntheticBurstDataset, BurstFolderDataset)."
            )
        is_training = self.is_train and "lq_path" not in data
        if is_training:
            number = self._drawn("frames").randint(*self._frames)
            data = {**data, "frames": data["frames"][:, :number]}
            if "flow" in data:
                data["flow"] = data["flow"][:, : number - 1]
        self._colours = data.get("colours")
        super().feed_data(data)

    def _drawn(self, purpose: str) -> random.Random:
        """Values of an iteration, the same on all ranks."""
        return random.Random(derive_seed(self.opt["manual_seed"], purpose, self.degrader.iteration))

    def _true_flow(self, key_of_user: str) -> Tensor:
        if self.batch.flow is None:
            raise OptionError(
                f"train.{key_of_user}", "these bursts have no true flow, as SyntheticBurstDataset's have."
            )
        return self.batch.flow

    def _flow_loss(self, flow: Tensor) -> dict[str, Tensor]:
        return {} if self.cri_flow is None else {"l_flow": self.cri_flow(flow.float(), self._true_flow("flow_opt"))}

    def _flow_losses(self) -> Mapping[str, Tensor]:
        return self._flow_loss(self.learning_pass(self.batch.frames))

    def _losses(self) -> Mapping[str, Tensor]:
        burst = self.batch.frames
        if burst is None:
            raise RuntimeError("feed_data comes before the first learning pass.")
        frames = burst.shape[1]
        takes_state = self.opt["train"].get("state_loss", True) and frames > 2
        # Counted from 0, and neither after the first frame alone nor after the last.
        after = (self._drawn("state").randint(1, frames - 2),) if takes_state else ()
        given = self._true_flow("true_flow") if self.opt["train"].get("true_flow") else None
        *images, flow = self.learning_pass(burst, given, *after)
        self.output = images[0].float()
        losses = [self.cri_pix(image.float(), self.gt) for image in images]
        return {"l_pix": torch.stack(losses).mean(), **({} if given is not None else self._flow_loss(flow))}

    def restore_batch(self, net: nn.Module) -> Tensor:
        """The linear image of the burst that was fed; by the true flow, if the training takes that."""
        given = self._true_flow("true_flow") if self.opt.get("train", {}).get("true_flow") else None
        restored: Tensor = net(self.batch.frames, given)
        return restored

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """Base frame, image and GT image in sRGB, for saving and for BasicSR's metrics; the linear ones are left for ours."""
        visuals: OrderedDict[str, Tensor] = super().get_current_visuals()
        if "gt" in visuals:
            LINEAR_PAIR.leave(visuals["result"], visuals["gt"])
        colours = Colours.of(self._colours, len(visuals["result"]))
        visuals["lq"] = colours_of_packed(visuals["lq"])
        return OrderedDict((name, colours.to_srgb(image.float()).clamp(0, 1)) for name, image in visuals.items())
