"""Training the student: the teacher's codes, then the codes and restoration (LightBSR, section 6)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch import Codes, LightBSR
from lightbsr_model.models.teacher import check_fit, data_are_noisy, load_teacher, start_from_teacher
from lightbsr_model.models.two_phase_model import TwoPhaseModel


class StudentPass(nn.Module):
    """One learning pass: encode; in the joint phase also restore under the codes."""

    def __init__(self, net: LightBSR, joint: bool) -> None:
        super().__init__()
        self.net = net
        self.joint = joint

    def forward(self, lq: Tensor) -> tuple[Codes, Tensor | None]:
        """Return the codes of (N, 3, H, W) images, and in the joint phase the restored images."""
        codes = self.net.encode(lq)
        return codes, self.net.restore(lq, codes) if self.joint else None


@MODEL_REGISTRY.register()
class LightBSRStudentModel(TwoPhaseModel):
    """Trains ``network_g`` of type LightBSR under a frozen teacher.

    The teacher has a section of its own, apart from ``network_*``, which a resume of BasicSR's would redirect
    (misc.py:108):
        teacher.network (dict): ``type: LightBSRTeacher`` and its arguments.
        teacher.path (str): Its checkpoint.
        teacher.param_key (str): Default: params_ema where there is one, else params.
        teacher.start_student (bool): Whether a new student starts from the teacher's weights. Default: True. A run
            with ``path.pretrain_network_g``, or a resumed one, starts from that.

    Options, under ``train``, besides those of :class:`TwoPhaseModel`:
        channel_opt (dict): ChannelDistillationLoss, in both phases.
        spatial_opt (dict): SpatialDistillationLoss, in both phases.
    """

    net_g: LightBSR

    def prepare_start(self) -> None:
        """Load the teacher, check that it fits, and start the student from it.

        Raises:
            FileNotFoundError, ValueError: By key, see :mod:`lightbsr_model.models.teacher`.
        """
        teacher_opt = self.opt.get("teacher") or {}
        teacher = load_teacher(teacher_opt)
        start = teacher_opt.get("start_student", True)
        check_fit(teacher, self.net_g, start, data_are_noisy(self.opt.get("datasets", {}).get("train", {})))
        if start and not self.opt["path"].get("pretrain_network_g"):
            start_from_teacher(self.net_g, teacher)
            get_root_logger().info(f"The student starts from its teacher, {teacher_opt['path']}.")
        self.teacher = teacher.to(self.device)

    def init_training_settings(self) -> None:
        """Build the distillation losses too."""
        self.cri_channel = self.required_loss("channel_opt")
        self.cri_spatial = self.required_loss("spatial_opt")
        super().init_training_settings()

    def encoder_phase_modules(self) -> list[nn.Module]:
        """Encoder and converters."""
        return [self.net_g.encoder, self.net_g.converters]

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """Codes, and restoration in the joint phase."""
        return StudentPass(self.net_g, joint)

    @torch.no_grad()
    def teacher_codes(self) -> Codes:
        """The teacher's codes of the batch; its SR network does not run."""
        prior = self.batch_prior(self.teacher)
        with self.precision.autocast():
            return self.teacher.encode(self.lq, prior)

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_channel`` and ``l_spatial``, and ``l_pix`` in the joint phase."""
        target = self.teacher_codes()
        with self.precision.autocast():
            codes, output = self.learning_pass(self.lq)
        losses = OrderedDict(
            l_channel=self.cri_channel(codes.channel.float(), target.channel.float()),
            l_spatial=self.cri_spatial(codes.spatial.float(), target.spatial.float()),
        )
        if joint:
            self.output = output.float()
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        return losses
