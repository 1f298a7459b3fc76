"""What a burst costs, part by part: the camera, flow, alignment, recurrence, and the image at the end."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.machine import synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import Timing, in_turns
from lightbsr_arch.methods.rbsr import RBSR
from lightbsr_model.degradation.burst import camera_of

_NETWORKS = {
    "published": {},
    "small": {"num_feat": 16, "num_feat_block": 1, "num_block": 4, "num_reconstruction_block": 2, "deform_groups": 4},
}


def measure(device: torch.device, turns: int, frames: int, side: int) -> Section:
    """Time the parts of restoring one burst.

    Args:
        device: Where the networks run; the camera runs on the CPU, in the workers of a training.
        turns: How often.
        frames: Number of frames.
        side: Of a packed frame; its image is eight times as large.
    """
    section = Section(
        "Burst super-resolution by part",
        f"One burst of {frames} packed frames of {side}x{side} without gradients; the image has {8 * side}x{8 * side} pixels. "
        "The camera makes such a burst of an sRGB image on the CPU.",
        ("network", "part", "ms", "spread"),
    )
    burst = torch.rand(1, frames, 4, side, side)

    def add(name: str, times: dict[str, Timing]) -> None:
        section.rows += [[name, part, timing.median * 1e3, timing.spread] for part, timing in times.items()]

    camera = camera_of("mended")
    photo, generator = torch.rand(3, *(8 * side + 2 * camera.cut,) * 2), torch.Generator().manual_seed(0)
    params = camera.draw(frames, generator)

    def normal(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    add("none", in_turns({"camera": lambda: camera.take(photo, params, normal)}, turns))
    burst = burst.to(device)
    with torch.inference_mode():
        for name, sizes in _NETWORKS.items():
            torch.manual_seed(0)
            nets = {flow: RBSR(**sizes, flow_net=flow).eval().to(device) for flow in ("affine", "spynet")}
            net = nets["affine"]
            flow = net.estimate_flow(burst)
            features, _ = net.align(burst, flow)
            seen = net.features(burst[0])
            base, others = seen[:1].expand(frames - 1, -1, -1, -1), seen[1:]
            state = net.accumulate(features)[:, -1]
            parts: dict[str, Callable[[], object]] = {
                "flow: registration": lambda net=net: net.estimate_flow(burst),
                "flow: SpyNet": lambda net=nets["spynet"]: net.estimate_flow(burst),
                "features of the frames": lambda net=net: net.features(burst[0]),
                "deformable alignment": lambda net=net, x=others, base=base, flow=flow: net.alignment(x, base, flow[0]),
                "recurrence": lambda net=net, x=features: net.accumulate(x),
                "the image": lambda net=net, x=features, state=state: net.reconstruct(burst, x[:, 0], state),
                "all, registered": lambda net=net: net(burst),
            }
            add(name, in_turns(parts, turns, wait=synchronise(device)))
    return section
