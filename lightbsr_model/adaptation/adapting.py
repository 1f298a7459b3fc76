"""Adapting a network in steps, under the guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.registry import method_of_network
from lightbsr_model.adaptation.degraders import MOST_NOISE, Degrader, check_degrader, degrade, learn_degrader
from lightbsr_model.adaptation.guard import Figures, Judge, Verdict, judge
from lightbsr_model.adaptation.references import References, refuse_same
from lightbsr_model.adaptation.targets import TargetImages
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.runtime.random_streams import derive_seed

_PARTS = ("encode", "restore", "represent", "sr")
"""What a network has that estimates a degradation and restores under it; ``sr`` is what restores."""


@dataclass
class Bench:
    """What the losses of a step are made of."""

    net: Any
    """The network that learns."""
    start: Any
    """The network as it was."""
    targets: TargetImages
    references: References
    degrader: Degrader
    generator: torch.Generator
    """Of this step."""
    device: torch.device

    def pairs(self, count: int) -> tuple[Tensor, Tensor]:
        """Reference crops degraded as the LR images were, and themselves; both in [0, 1]."""
        hr = self.references.crops(count, self.generator, self.device)
        images = torch.randint(len(self.targets.names), (count,), generator=self.generator)
        return degrade(self.degrader, self.targets, hr, images, self.generator), hr


Losses = Callable[[Bench], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How a method adapts."""

    name: str
    degrader: str
    """What degrades the references, or the restored images, while the network learns."""
    judge: str
    """What degrades the held-out images that judge, besides the former."""
    iterations: int
    lr: float
    losses: Losses
    most_noise: float | None = None
    """Grey levels of noise above which another method is proposed."""


@dataclass
class State:
    """Where an adaptation is."""

    iteration: int = 0
    best: dict[str, Tensor] | None = None
    """The weights that gained most so far; None for those of the start."""
    best_iteration: int = 0
    best_gain: float = float("-inf")
    record: list[dict[str, Any]] = field(default_factory=list)
    """At each measurement the iteration, the losses since the last one, and the gains."""


@dataclass(frozen=True)
class Outcome:
    """What an adaptation has led to."""

    net: nn.Module
    """The adapted network; a copy of the given one where that is not better."""
    verdict: Verdict
    before: Figures
    after: Figures
    """Of the adapted network, also where it does not go out."""
    iteration: int
    """After how many steps it was at its best."""
    record: Sequence[Mapping[str, Any]]
    shown: Sequence[tuple[str, Tensor, Tensor, Tensor]]
    """Names of images, parts of them, and those restored before and after, (3, H, W) in [0, 1]."""


class Adapting:
    """An adaptation that is under way.

    Args:
        recipe: How.
        net: The network, which stays as it is.
        targets: The LR images.
        references: Sharp images.
        iterations: Number of steps.
        lr: Rate of Adam.
        seed: Of all that is drawn.
        interval: Steps between two measurements.
        files: Of degraders that are read from a file, by their names.

    Raises:
        OptionError: The network has no encoder, the LR images have more noise than can be learnt, or are references.
    """

    def __init__(
        self,
        recipe: Recipe,
        net: nn.Module,
        targets: TargetImages,
        references: References,
        iterations: int | None = None,
        lr: float | None = None,
        seed: int = 0,
        interval: int = 50,
        files: Mapping[str, str] | None = None,
    ) -> None:
        check_network(net)
        check_noise(targets)
        refuse_same(targets, references)
        self.recipe, self.targets, self.references, self.seed = recipe, targets, references, seed
        self.iterations = recipe.iterations if iterations is None else iterations
        self.interval = interval
        self.device = next(iter(net.parameters())).device
        self.start: Any = deepcopy(net).eval().requires_grad_(False)
        self.net: Any = deepcopy(self.start)
        if self.device.type == "cpu":
            # The layout that convolutions like there.
            self.net, self.start = (net.to(memory_format=torch.channels_last) for net in (self.net, self.start))
        learns: Any = self.net.sr
        learns.requires_grad_(True)
        rate = recipe.lr if lr is None else lr
        self.optimiser = torch.optim.Adam(learns.parameters(), lr=rate, betas=(0.9, 0.99))
        names = dict.fromkeys((recipe.degrader, recipe.judge))
        self.degraders = {
            name: learn_degrader(name, self.start, targets, derive_seed(seed, name), path=(files or {}).get(name))
            for name in names
        }
        self.judge = Judge(targets, references, self.degraders, derive_seed(seed, "judge"), self.device)
        self._restored = self.judge.restore(self.start)
        self.before = self.judge.figures(self.start, self._restored)
        self._chosen_before = self.judge.choosing_psnr(self.start)
        self.state = State()
        self._losses: dict[str, Tensor] = {}

    def run(
        self,
        progress: Callable[[State], None] | None = None,
        save: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Outcome:
        """Take the steps that are left, and judge.

        Args:
            progress: Called after each step.
            save: Called at each measurement with what :meth:`load` takes.
        """
        while self.state.iteration < self.iterations:
            self._step()
            at = self.state.iteration
            if at % self.interval == 0 or at == self.iterations:
                self._measure()
                if save is not None:
                    save(self.dump())
            if progress is not None:
                progress(self.state)
        return self._outcome()

    def _step(self) -> None:
        at = self.state.iteration + 1
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "step", at))
        degrader = self.degraders[self.recipe.degrader]
        bench = Bench(self.net, self.start, self.targets, self.references, degrader, generator, self.device)
        losses = self.recipe.losses(bench)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimiser.step()
        self._losses = {name: self._losses.get(name, 0) + loss.detach() for name, loss in losses.items()}
        self.state.iteration = at

    def _measure(self) -> None:
        state = self.state
        psnr = self.judge.choosing_psnr(self.net)
        gains = {name: value - self._chosen_before[name] for name, value in psnr.items()}
        passed = state.iteration - (state.record[-1]["iteration"] if state.record else 0)
        losses = {name: float(value) / passed for name, value in self._losses.items()}
        self._losses = {}
        state.record.append({"iteration": state.iteration, "losses": losses, "gains": gains})
        gain = min(gains[name] for name in self.judges)
        if gain > state.best_gain:
            state.best_gain, state.best_iteration = gain, state.iteration
            state.best = {key: value.detach().clone() for key, value in self.net.state_dict().items()}

    @property
    def judges(self) -> tuple[str, ...]:
        """The names of what must show a gain."""
        return (self.recipe.judge,)

    def _outcome(self) -> Outcome:
        adapted = deepcopy(self.start)
        if self.state.best is not None:
            adapted.load_state_dict(self.state.best)
        restored = self.judge.restore(adapted)
        after = self.judge.figures(adapted, restored, self._restored)
        verdict = judge(self.before, after, self.judges, max(self.targets.noise))
        shown = [
            (name, lq[0], first[0], last[0])
            for (name, _, lq), first, last in zip(self.judge.shown, self._restored, restored, strict=True)
        ]
        net = adapted if verdict.better else deepcopy(self.start)
        return Outcome(net, verdict, self.before, after, self.state.best_iteration, self.state.record, shown)

    def dump(self) -> dict[str, Any]:
        """All that a later process needs to go on as if it had not been interrupted: plain values and tensors."""
        state = self.state
        return {
            "iteration": state.iteration,
            "best": state.best,
            "best_iteration": state.best_iteration,
            "best_gain": state.best_gain,
            "record": state.record,
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`dump` gave."""
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.state = State(
            saved["iteration"], saved["best"], saved["best_iteration"], saved["best_gain"], list(saved["record"])
        )


def check_network(net: Any, name: str | None = None) -> None:
    """Check that a network can be adapted: one of ours that estimates the degradation and restores under the estimate.

    Raises:
        OptionError: It is not.
    """
    if method_of_network(net) is None or not all(hasattr(net, part) for part in _PARTS):
        raise OptionError(
            f"{name or type(net).__name__} has no encoder that estimates the degradation before it restores: expected a "
            "network of this project that has one (`lightbsr info FILE` names a file's network)."
        )


def check_noise(targets: TargetImages) -> None:
    """Check that the noise of LR images is within what degradations can be learnt of.

    Raises:
        OptionError: It is not; the message names the image.
    """
    for name, level in zip(targets.names, targets.noise, strict=True):
        if level > MOST_NOISE:
            raise OptionError(
                f"{name}: has noise of about {level:.0f} grey levels; degradations are learnt of at most {MOST_NOISE:.0f}. "
                "Leave it out, or remove noise first."
            )


class GuardedAdaptation:
    """A recipe with its arguments: an :class:`~lightbsr_arch.methods.base.Adaptation`.

    Args:
        recipe: How.
        references: Sharp images, see :class:`~lightbsr_model.adaptation.references.References`.
        seed: Of all that is drawn.
        iterations: Number of steps.
        lr: Rate of Adam.
        reconstructor: File of the network that degrades, instead of the one in the package.
    """

    def __init__(
        self,
        recipe: Recipe,
        references: str = "bundled",
        seed: int = 0,
        iterations: int | None = None,
        lr: float | None = None,
        reconstructor: str | None = None,
    ) -> None:
        self.recipe, self.references, self.seed = recipe, references, seed
        self.iterations, self.lr = iterations, lr
        self.files = {} if reconstructor is None else {"reconstructor": reconstructor}
        self._opened: dict[int, References] = {}

    def check(self, net: Any, name: str) -> None:
        """Check, before the work, what does not depend on the LR images.

        Args:
            net: The network that is to be adapted; it may be without memory (device ``meta``). None for one of others.
            name: Its name, for messages.

        Raises:
            OptionError: It cannot be adapted, or another reconstructor is needed.
            MissingFileError: References or the reconstructor are not there.
        """
        check_network(net, name)
        for degrader in dict.fromkeys((self.recipe.degrader, self.recipe.judge)):
            check_degrader(degrader, net.scale, path=self.files.get(degrader))
        open_all(self.references, "references")

    def begin(self, net: Any, targets: TargetImages, interval: int = 50) -> Adapting:
        """Prepare an adaptation to LR images.

        Raises:
            OptionError: Something does not fit; see :class:`Adapting` and
                :class:`~lightbsr_model.adaptation.references.References`.
        """
        check_network(net)
        return Adapting(
            self.recipe,
            net,
            targets,
            self.references_of(net.scale),
            self.iterations,
            self.lr,
            self.seed,
            interval,
            self.files,
        )

    def references_of(self, scale: int) -> References:
        """The sharp images for a network of a scale; they are read once."""
        if scale not in self._opened:
            self._opened[scale] = References(self.references, scale, self.seed)
        return self._opened[scale]

    def __call__(self, net: nn.Module, lq: Tensor) -> nn.Module:
        """Adapt a copy of a network to (N, 3, H, W) in [0, 1]; where that is not better, it is as the network was."""
        return self.begin(net, TargetImages.of(lq, self.seed)).run().net
