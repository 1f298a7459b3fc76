"""The interface between a method and the rest of the project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from lightbsr_arch.methods.published_layout import PublishedLayout
from lightbsr_arch.methods.sizes import Sizes


@dataclass(frozen=True)
class Pairing:
    """A student, its teacher, and what they share."""

    student: str
    """Name of the student's network; its ``options`` are the sizes that both have."""
    teacher: str
    """Name of the teacher's network; its ``options`` are all sizes that a state dict shows."""
    code_sizes: tuple[str, ...]
    """The options that determine the shapes of the distilled codes."""
    shared: tuple[tuple[str, str], ...]
    """Prefixes of the weights that the student is initialised with: the teacher's prefix, and the student's."""
    fresh: tuple[str, ...] = ()
    """Prefixes of the student's weights among them that are initialised at random nevertheless."""
    fresh_sizes: tuple[str, ...] = ()
    """Options that may differ although the student starts from the teacher: those parts are initialised at random."""
    recipe: str = ""
    """Option file that trains such a teacher."""
    parts: tuple[str, ...] = ()
    """Modules of the teacher whose weights may lie in a file of their own, which the option ``<part>_path`` names."""


class Adaptation(Protocol):
    """Fits a network to the images that it is about to restore."""

    def __call__(self, net: nn.Module, lq: Tensor) -> nn.Module:
        """Return an adapted copy; the network itself stays as it is.

        Args:
            net: Restores (N, 3, H, W) in [0, 1].
            lq: The images, (N, 3, H, W) in [0, 1].
        """
        ...


@dataclass(frozen=True)
class Method:
    """A method of blind super-resolution: its networks, and how its checkpoints are read."""

    name: str
    """Name used in the paper."""
    paper: str
    """Venue and arXiv number."""
    networks: Mapping[str, type[nn.Module]]
    """Its networks that restore images, by the names that option files use."""
    sizes: Callable[[Sizes], dict[str, Any]]
    """Infers the network's ``type`` and its constructor's sizes from a state dict."""
    published: PublishedLayout | None = None
    """The weight names of the authors' code."""
    distils: Pairing | None = None
    """The student, the teacher, and what they share."""
    runs_by: Mapping[str, str] = field(default_factory=dict)
    """Network -> ``model_type`` that tests it, where BasicSR's SRModel cannot: it needs more than the LR image."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Network -> what it must be given besides the LR image (``"the GT image"``); such a network cannot restore photos."""
    command: Mapping[str, str] = field(default_factory=dict)
    """Network -> command of ``lightbsr`` that restores with it, where ``infer`` cannot: one of :attr:`needs`."""
    tiling: str = ""
    """Dotted name of the :class:`~lightbsr_arch.inference.tiled_network.TiledNetwork` that runs its student; empty for the
    one that runs any network. A name, since a method is read without what runs it."""
    namesake_hint: Callable[[Mapping[str, Tensor]], str] | None = None
    """A sentence for weights of another network that has the same name; empty for any other weights."""
    helpers: Mapping[str, type[nn.Module]] = field(default_factory=dict)
    """Its networks that restore no images but help others to learn, by the names that option files use."""
    adaptations: Mapping[str, Callable[..., Adaptation] | str] = field(default_factory=dict)
    """Adaptations by the names that option files use, made of their arguments; or the dotted name of what makes one, since
    networks do without what trains them."""
    degraders: Mapping[str, str] = field(default_factory=dict)
    """Degradations that are learnt from LR images, by name: the dotted name of what learns one."""

    @property
    def classes(self) -> dict[str, type[nn.Module]]:
        """All its networks, by the names that option files use."""
        return {**self.networks, **self.helpers}

    @property
    def who_restores(self) -> str:
        """What restores images where one of :attr:`needs` cannot, for messages."""
        if self.command:
            return " and ".join(
                f"`lightbsr {command}` takes {self.needs[name]}" for name, command in self.command.items()
            )
        return "a student is what restores images"
