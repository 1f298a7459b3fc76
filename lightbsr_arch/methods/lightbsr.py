"""``LightBSR``, the network used for inference, and ``LightBSRTeacher``, which also sees the true degradation.

Source: "LightBSR: Towards Lightweight Blind Super-Resolution via Discriminative Implicit Degradation Representation
Learning", ICCV 2025, arXiv 2506.22710.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lightbsr_arch.layers.blind_student import BlindStudent
from lightbsr_arch.layers.codes import Codes, IDRConverters
from lightbsr_arch.layers.degradation_encoder import DegradationEncoder
from lightbsr_arch.layers.degradation_prior import KERNEL_SIZE, new_prior_basis
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.modulated_sr import ModulatedSR
from lightbsr_arch.layers.momentum_contrast import MomentumContrast, Projections, contrastive_loss
from lightbsr_arch.layers.residual_sr import DIV2K_MEAN
from lightbsr_arch.layers.upsampling_network import TailActivation
from lightbsr_arch.methods.base import Method, Pairing
from lightbsr_arch.methods.published_layout import (
    BLOCK,
    CONVNEXT,
    ENDS,
    GROUPS_CONV,
    MOMENTUM_CONTRAST,
    OUR_BLOCK,
    PublishedLayout,
    renames,
    scalar_pointer,
)
from lightbsr_arch.methods.sizes import Sizes


class _Restorer(nn.Module):
    """The converters and the SR network, which student and teacher share. Their encoders differ."""

    def __init__(
        self,
        scale: int,
        num_feat: int,
        num_group: int,
        num_block: int,
        num_spatial_feat: int,
        num_channel_code: int,
        num_encoder_feat: int,
        layer_scale_init: float,
        image_skip: bool,
        tail_activation: TailActivation,
        init_scale: float | None,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_group": num_group,
            "num_block": num_block,
            "num_spatial_feat": num_spatial_feat,
            "num_channel_code": num_channel_code,
            "num_encoder_feat": num_encoder_feat,
        }
        self.scale = scale
        self.converters = IDRConverters(4 * num_encoder_feat, num_channel_code)
        self.sr = ModulatedSR(
            scale,
            num_feat,
            num_group,
            num_block,
            num_spatial_feat,
            num_channel_code,
            self.converters.num_spatial_code,
            layer_scale_init,
        )
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    def restore(self, lq: Tensor, codes: Codes) -> Tensor:
        """Restore an LR image with given codes.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            codes: The result of :meth:`encode` for this image or another one with the same N, H and W.

        Returns:
            (N, 3, scale * H, scale * W), nominally in [0, 1], not clamped.
        """
        check_image(lq)
        return self.sr(lq, codes)


class LightBSR(_Restorer, BlindStudent):
    """The blind super-resolution network: encodes the degradation of an LR image and restores it.

    At the published sizes and x4 it has 3.26 million parameters.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network's features.
        num_group: Number of groups of the SR network.
        num_block: Number of modulated blocks per group.
        num_spatial_feat: Number of channels gated by the spatial code.
        num_channel_code: Length of the channel code.
        num_encoder_feat: Number of channels of the encoder's first two layers, a multiple of 4; the IDR map has four times
            as many channels, the spatial code a quarter.
        layer_scale_init: Initial value of the layer scale of every block. The published 1e-6 suits the published
            679,000 iterations; a run of a few hundred learns more with 0.1.
        image_skip: Add the output to the bilinearly enlarged LR image, instead of the mean colour. For short trainings, as are
            the next two; see :meth:`~lightbsr_arch.layers.residual_sr.ResidualSR.start_freely`.
        tail_activation: ``lr`` puts activations before the upsampler, ``hr`` into it; without, all behind the blocks is linear.
        init_scale: Factor of Kaiming's normal distribution that the SR network's initial weights are drawn from, above 0 and at
            most 10; without, torch's initialisation.

    Raises:
        ValueError: A size is invalid; the message names it.

    Example:
        >>> net = LightBSR(scale=2, num_feat=16, num_group=1, num_block=1, num_spatial_feat=4, num_encoder_feat=8)
        >>> tuple(net.eval()(torch.rand(1, 3, 5, 7)).shape)
        (1, 3, 10, 14)
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        num_group: int = 8,
        num_block: int = 8,
        num_spatial_feat: int = 16,
        num_channel_code: int = 48,
        num_encoder_feat: int = 32,
        layer_scale_init: float = 1e-6,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(
            scale,
            num_feat,
            num_group,
            num_block,
            num_spatial_feat,
            num_channel_code,
            num_encoder_feat,
            layer_scale_init,
            image_skip,
            tail_activation,
            init_scale,
        )
        self.encoder = DegradationEncoder(3, num_encoder_feat)

    def encode(self, lq: Tensor) -> Codes:
        """Estimate the degradation of LR images; runs only the encoder and the converters.

        Args:
            lq: (N, 3, H, W) in [0, 1], H and W >= 1.

        Returns:
            ``codes.channel`` (N, num_channel_code) and ``codes.spatial`` (N, num_encoder_feat / 4, H, W), before any
            refinement.

        Raises:
            ValueError: ``lq`` is not a float batch of RGB images.
        """
        check_image(lq)
        return self.converters(self.encoder(lq), (lq.shape[2], lq.shape[3]))

    def encode_shifted(self, lq: Tensor, shift: Tensor) -> Codes:
        """As :meth:`encode`, with (N, 4 * num_encoder_feat) added to the representation: at every pixel of its map."""
        check_image(lq)
        return self.converters(self.encoder(lq) + shift[:, :, None, None], (lq.shape[2], lq.shape[3]))

    def represent(self, lq: Tensor) -> Tensor:
        """The implicit degradation representation as one vector per image: the map's average, (N, 4 * num_encoder_feat)."""
        check_image(lq)
        return self.encoder(lq).mean(dim=(2, 3))


def _forget_basis(teacher: Any, _: Any) -> None:
    teacher._has_basis = None


class LightBSRTeacher(_Restorer):
    """The teacher: sees the LR image and the true degradation, and learns to distinguish degradations by contrast.

    The basis of its prior (``prior_basis``) and the queue of keys are buffers, and so part of its checkpoint.

    Args:
        scale: 2, 3 or 4.
        prior_channels: Number of values of the prior: ``prior_components`` for the kernel, and the noise level repeated
            over the rest. 15 for noise-free data, 18 for noisy data as published. With ``prior: parameters`` the number that
            the data's degradation has: 65 of real-world presets, 5 of Gaussian ones.
        prior_components: Number of PCA components of the kernel; default 15, or ``prior_channels`` if less.
        prior_max_variance: Largest variance of the kernels that the basis is computed from; 10.1 in the published code, see
            :func:`~lightbsr_arch.layers.degradation_prior.kernel_pca_basis`.
        prior_noise_divisor: Divides the noise level (0 to 255) before the network sees it; 1 in the published code.
        queue_size: Number of keys in the queue.
        momentum: Momentum of the key encoder's moving average.
        temperature: Has no effect; accepted for older option files. The contrastive loss has its own.
        num_feat, num_group, num_block, num_spatial_feat, num_channel_code, num_encoder_feat: As in :class:`LightBSR`.
        layer_scale_init, image_skip, tail_activation, init_scale: As in :class:`LightBSR`.
        prior: ``kernel``, as published: PCA components of the kernel and the noise level; or ``parameters``: the normalised
            vector of all drawn parameters, for degradations that are more than one kernel and one noise level. It needs no
            basis, and ``prior_components`` and what follows it have no effect.

    Raises:
        ValueError: A size is invalid; the message names it.
    """

    prior_basis: Tensor

    ignored_options: ClassVar[Mapping[str, str]] = {
        "temperature": "the network has no temperature, the loss has: set train: {contrastive_opt: {temperature: ...}}"
    }
    """Arguments that are accepted for old option files, and why they have no effect."""

    def __init__(
        self,
        scale: int = 4,
        prior_channels: int = 15,
        num_feat: int = 64,
        num_group: int = 8,
        num_block: int = 8,
        num_spatial_feat: int = 16,
        num_channel_code: int = 48,
        num_encoder_feat: int = 32,
        layer_scale_init: float = 1e-6,
        prior_components: int | None = None,
        prior_max_variance: float = 16.0,
        prior_noise_divisor: float = 255.0,
        queue_size: int = 8192,
        momentum: float = 0.999,
        temperature: float | None = None,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
        prior: Literal["kernel", "parameters"] = "kernel",
    ) -> None:
        super().__init__(
            scale,
            num_feat,
            num_group,
            num_block,
            num_spatial_feat,
            num_channel_code,
            num_encoder_feat,
            layer_scale_init,
            image_skip,
            tail_activation,
            init_scale,
        )
        if prior not in ("kernel", "parameters"):
            raise ValueError(f"prior: expected kernel or parameters, got {prior!r}.")
        self.prior = prior
        if prior == "parameters":
            self.options["prior"] = prior
            components = 0
        else:
            components = min(15, prior_channels) if prior_components is None else prior_components
            if not 0 < components <= prior_channels:
                raise ValueError(
                    f"prior_components: expected 1 to prior_channels = {prior_channels}, got {prior_components}."
                )
        self.options.update(prior_channels=prior_channels, prior_components=components, queue_size=queue_size)
        if temperature is not None:
            warnings.warn(f"LightBSRTeacher: {self.ignored_options['temperature']}", stacklevel=2)
        self.num_noise_channels = prior_channels - components if components else None
        self.prior_noise_divisor = prior_noise_divisor
        # Without components the buffer is empty: a state dict shows by it what the prior is made of.
        basis = new_prior_basis(components, prior_max_variance) if components else torch.empty(KERNEL_SIZE**2, 0)
        self.register_buffer("prior_basis", basis)
        self.momentum_contrast = MomentumContrast(3 + prior_channels, num_encoder_feat, queue_size, momentum)
        # Checked once per loaded state: reading a value makes the host wait for the device.
        self._has_basis: bool | None = None
        self.register_load_state_dict_post_hook(_forget_basis)

    @property
    def encoder(self) -> DegradationEncoder:
        """The query encoder, which is trained by gradient."""
        return self.momentum_contrast.query.encoder

    def degradation_prior(self, kernel: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """Compute the prior of a true degradation.

        Args:
            kernel: (N, 21, 21) normalised blur kernels; a single 1 in the middle means no blur.
            noise_level: (N,) standard deviations of the noise, 0 to 255; required if the prior has noise channels.

        Returns:
            (N, prior_channels).

        Raises:
            ValueError: The kernel has another size, the noise level is missing, the teacher has no basis (published
                checkpoints do not contain it), or its prior is not made of kernels.
        """
        if self.num_noise_channels is None:
            raise ValueError("This teacher's prior is the vector of all parameters, not made of kernels.")
        if kernel.shape[-2:].numel() != self.prior_basis.shape[0]:
            raise ValueError(f"kernel: expected (N, {KERNEL_SIZE}, {KERNEL_SIZE}), got {tuple(kernel.shape)}.")
        if self._has_basis is None:
            self._has_basis = bool(self.prior_basis.isfinite().all())
        if not self._has_basis:
            raise ValueError(
                "This teacher has no PCA basis: published checkpoints do not contain theirs. Pass the basis it was trained "
                "with to convert_published_state_dict(state_dict, prior_basis=...)."
            )
        code = kernel.flatten(1) @ self.prior_basis.to(kernel.dtype)
        if self.num_noise_channels == 0:
            return code
        if noise_level is None:
            raise ValueError(
                f"noise_level: this teacher's prior has {self.num_noise_channels} noise channels; got none."
            )
        noise = (noise_level.to(code) / self.prior_noise_divisor).view(-1, 1)
        return torch.cat([code, noise.expand(-1, self.num_noise_channels)], dim=1)

    def with_prior(self, lq: Tensor, prior: Tensor) -> Tensor:
        """Append the prior, repeated over all pixels, to the channels of (N, 3, H, W).

        Raises:
            ValueError: ``lq`` is not a float batch of RGB images, or ``prior`` is not (N, prior_channels).
        """
        check_image(lq)
        expected = (lq.shape[0], self.options["prior_channels"])
        if tuple(prior.shape) != expected:
            raise ValueError(f"prior: expected (N, prior_channels) = {expected}, got {tuple(prior.shape)}.")
        return torch.cat([lq, prior[:, :, None, None].expand(-1, -1, *lq.shape[2:]).to(lq.dtype)], dim=1)

    def encode(self, lq: Tensor, prior: Tensor) -> Codes:
        """Encode LR images whose true degradation is known, without running the SR network.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            prior: (N, prior_channels), see :meth:`degradation_prior`.
        """
        idr = self.encoder(self.with_prior(lq, prior))
        return self.converters(idr, (lq.shape[2], lq.shape[3]))

    def represent(self, lq: Tensor, prior: Tensor) -> Tensor:
        """The implicit degradation representation as one vector per image: the map's average, (N, 4 * num_encoder_feat)."""
        return self.encoder(self.with_prior(lq, prior)).mean(dim=(2, 3))

    def project(self, lq_views: Tensor, prior: Tensor) -> Projections:
        """Update the key encoder, then project all views by the query encoder and the key encoder.

        Args:
            lq_views: (N, V, 3, H, W) in [0, 1], V views of one image under one degradation.
            prior: (N, prior_channels).
        """
        if lq_views.dim() != 5:
            raise ValueError(f"lq_views: expected (N, V, 3, H, W), got {tuple(lq_views.shape)}.")
        views = torch.stack([self.with_prior(view, prior) for view in lq_views.unbind(1)])
        return self.momentum_contrast(views)

    def project_and_restore(self, lq_views: Tensor, prior: Tensor) -> tuple[Projections, Tensor]:
        """As :meth:`project`, and view 0 restored under its codes: a learning pass of the joint phase."""
        projections = self.project(lq_views, prior)
        lq = lq_views[:, 0]
        return projections, self.restore(lq, self.converters(projections.feature_map, (lq.shape[2], lq.shape[3])))

    def contrast(self, lq_views: Tensor, prior: Tensor, temperature: float = 0.07) -> tuple[Tensor, Tensor]:
        """One pass of momentum contrast: compute the loss over all ordered pairs of views, then enqueue view 0's keys.

        Args:
            lq_views: (N, V, 3, H, W) in [0, 1], V >= 2 views of one image under one degradation.
            prior: (N, prior_channels).
            temperature: Divides the similarities.

        Returns:
            The query encoder's map of view 0, (N, 4 * num_encoder_feat, ceil(H / 4), ceil(W / 4)), which the joint phase
            restores with, and the loss.
        """
        projections = self.project(lq_views, prior)
        loss = contrastive_loss(projections.queries, projections.keys, projections.negatives, temperature)
        self.momentum_contrast.enqueue(projections.keys[0])
        return projections.feature_map, loss

    def forward(self, lq: Tensor, prior: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] under a known degradation to (N, 3, scale * H, scale * W), not clamped."""
        return self.restore(lq, self.encode(lq, prior))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    teacher = sizes.has("momentum_contrast.")
    encoder = "momentum_contrast.query.encoder" if teacher else "encoder"
    options = {
        "type": "LightBSRTeacher" if teacher else "LightBSR",
        **sizes.network(),
        **sizes.start(),
        **sizes.groups(),
        "num_spatial_feat": sizes.shape("sr.groups.0.blocks.0.modulation.spatial_conv.weight")[0],
        "num_channel_code": sizes.shape("converters.channel.weight")[0],
        "num_encoder_feat": sizes.shape(f"{encoder}.layers.0.weight")[0],
    }
    if teacher:
        options["prior_channels"] = sizes.shape(f"{encoder}.layers.0.weight")[1] - 3
        options["prior_components"] = sizes.shape("prior_basis")[1]
        if options["prior_components"] == 0:
            options["prior"] = "parameters"
        options.update(sizes.queue())
    return options


def _with_basis(converted: dict[str, Tensor], prior_basis: Tensor | None) -> dict[str, Tensor]:
    """Add the basis of a published teacher; without one it runs only with given priors."""
    first = converted.get("momentum_contrast.query.encoder.layers.0.weight")
    if first is None:
        if prior_basis is not None:
            raise ValueError("prior_basis: only a teacher has a prior; this is a student's checkpoint.")
        return converted
    channels = first.shape[1] - 3
    if prior_basis is None:
        prior_basis = torch.full((KERNEL_SIZE**2, min(15, channels)), float("nan"))
    elif prior_basis.dim() != 2 or prior_basis.shape[0] != KERNEL_SIZE**2 or prior_basis.shape[1] > channels:
        raise ValueError(f"prior_basis: expected ({KERNEL_SIZE**2}, up to {channels}), got {tuple(prior_basis.shape)}.")
    return {**converted, "prior_basis": prior_basis}


_GROUP = r"G\.body\.(\d+)\."

METHOD = Method(
    name="LightBSR",
    paper="ICCV 2025, arXiv 2506.22710",
    networks={"LightBSR": LightBSR, "LightBSRTeacher": LightBSRTeacher},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=DIV2K_MEAN,
        renames=renames(
            *ENDS,
            (r"G\.compress\.0\.", "converters.channel."),
            (r"G\.afterpixshuffle\.0\.", "converters.spatial."),
            (_GROUP + r"ca_change\.avgafter\.", r"sr.groups.\1.refinement.channel."),
            (_GROUP + r"xk_change\.sig1\.", r"sr.groups.\1.refinement.spatial."),
            (BLOCK + r"spatial_mixing\.partial_conv3\.", OUR_BLOCK + "modulation.spatial_conv."),
            (BLOCK + r"spatial_mixing\.loc\.avgafter\.", OUR_BLOCK + "modulation.channel_gate."),
            (BLOCK + r"spatial_mixing\.spatial_attention\.", OUR_BLOCK + "modulation.spatial_gate."),
            *CONVNEXT,
            *GROUPS_CONV,
            (r"E\.E\.", "encoder.layers."),
            *MOMENTUM_CONTRAST,
        ),
        modulation="modulation.spatial_conv.weight",
        finish=scalar_pointer,
        add_prior_basis=_with_basis,
    ),
    distils=Pairing(
        student="LightBSR",
        teacher="LightBSRTeacher",
        code_sizes=("num_channel_code", "num_encoder_feat"),
        # The query encoder becomes the encoder; its first convolution saw the prior too.
        shared=(("momentum_contrast.query.encoder.", "encoder."), ("converters.", "converters."), ("sr.", "sr.")),
        fresh=("encoder.layers.0.",),
        recipe="options/train_teacher.yml",
    ),
    runs_by={"LightBSRTeacher": "LightBSRTeacherModel"},
    needs={"LightBSRTeacher": "the true degradation"},
    tiling="lightbsr_arch.inference.lightbsr.tiling.TiledLightBSR",
)
