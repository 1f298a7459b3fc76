"""Let programs that are built on spandrel (chaiNNer and others) load LightBSR by its state dict.

``import lightbsr_arch.spandrel; lightbsr_arch.spandrel.install()`` once, then ``spandrel.ModelLoader().load_from_file``
takes our files: sizes and scale are read off the weights. Needs the extra ``spandrel``.
"""

from __future__ import annotations

from typing import Any

from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, SizeRequirements

from lightbsr_arch.methods.lightbsr import LightBSR
from lightbsr_arch.weights.identify import infer_options
from lightbsr_arch.weights.published import convert_published_state_dict, is_published_state_dict

_OURS = ("sr.head.weight", "converters.channel.weight", "converters.spatial.weight", "encoder.layers.0.weight")
_STUDENT = ("G.compress.0.weight", "G.body.0.xk_change.sig1.0.weight", "E.E.0.weight")
"""Keys of a student of the published code."""


class LightBSRArchitecture(Architecture[LightBSR]):
    """LightBSR's student, in this package's layout or the published one."""

    def __init__(self) -> None:
        super().__init__(id="LightBSR", detect=_detect)

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[LightBSR]:
        """Make the network that a state dict belongs to.

        Raises:
            ValueError: It is incomplete.
        """
        if is_published_state_dict(state_dict):
            state_dict = convert_published_state_dict(state_dict)
        options = infer_options(state_dict)
        del options["type"]
        return ImageModelDescriptor(
            LightBSR(**options),
            state_dict,
            architecture=self,
            purpose="SR",
            tags=[f"{options['num_feat']}nf", f"{options['num_group']}x{options['num_block']}"],
            supports_half=True,
            supports_bfloat16=True,
            scale=options["scale"],
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(),
        )


def _detect(state_dict: dict[str, Any]) -> bool:
    return any(all(key in state_dict for key in keys) for keys in (_OURS, _STUDENT))


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Register LightBSR with spandrel; again does nothing.

    Args:
        registry: Where; the default is what spandrel's ``ModelLoader`` looks in.
    """
    registry.add(ArchSupport.from_architecture(LightBSRArchitecture()), ignore_duplicates=True)
