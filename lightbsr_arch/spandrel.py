"""Let programs that are built on spandrel (chaiNNer and others) load our networks by their state dicts.

``import lightbsr_arch.spandrel; lightbsr_arch.spandrel.install()`` once, then ``spandrel.ModelLoader().load_from_file``
takes files of every method that is here: sizes and scale are read off the weights. Needs the extra ``spandrel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, SizeRequirements
from torch import Tensor, nn

from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.registry import method_of_published_weights, method_of_weights, registered
from lightbsr_arch.weights.identify import infer_options
from lightbsr_arch.weights.published import convert_published_state_dict, is_published_state_dict


class StudentArchitecture(Architecture[nn.Module]):
    """A network of ours that restores images by themselves, in this package's layout or the published one.

    Args:
        method: Its method.
        network: Its name.
    """

    def __init__(self, method: Method, network: str) -> None:
        super().__init__(id=network, detect=self._detect)
        self.method, self.network = method, network

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[nn.Module]:
        """Make the network that a state dict belongs to.

        Raises:
            ValueError: It is incomplete.
        """
        state_dict = _in_our_layout(state_dict)
        options = infer_options(state_dict)
        net = self.method.networks[options.pop("type")](**options)
        groups = f"{options['num_group']}x" if "num_group" in options else ""
        return ImageModelDescriptor(
            net,
            state_dict,
            architecture=self,
            purpose="SR",
            tags=[f"{options['num_feat']}nf", f"{groups}{options['num_block']}"],
            supports_half=True,
            supports_bfloat16=True,
            scale=options["scale"],
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(),
        )

    def _detect(self, state_dict: Mapping[str, Any]) -> bool:
        if self.method not in (method_of_weights(state_dict), method_of_published_weights(state_dict)):
            return False
        try:
            return infer_options(_in_our_layout(state_dict))["type"] == self.network
        except ValueError:  # another network that shares a name, or half of one
            return False


def _in_our_layout(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return convert_published_state_dict(state_dict) if is_published_state_dict(state_dict) else dict(state_dict)


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Register all our networks that restore images by themselves with spandrel; again does nothing.

    Args:
        registry: Where; the default is what spandrel's ``ModelLoader`` looks in.
    """
    methods = [entry.load() for entry in registered() if entry.signature]
    students = [(method, name) for method in methods for name in method.networks if name not in method.needs]
    for method, name in students:
        registry.add(ArchSupport.from_architecture(StudentArchitecture(method, name)), ignore_duplicates=True)
