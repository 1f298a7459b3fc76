"""What all students share: a frozen teacher with a section of its own in the options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from basicsr.utils import get_root_logger

from lightbsr_model.data.lq_images import degradation_of_batches
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.teacher import (
    check_fit,
    load_teacher,
    pairing_of,
    start_from_teacher,
)
from lightbsr_model.training.train_options import PhasedOptions, TeacherOptions


class DistillationModel(PhasedModel):
    """Trains a student under a frozen teacher.

    The teacher has a section of its own, apart from ``network_*``, which a resume of BasicSR's would redirect
    (misc.py:108):
        teacher.network (dict): ``type`` of the teacher, such as LightBSRTeacher, and its arguments.
        teacher.path (str): Its checkpoint.
        teacher.param_key (str): Default: params_ema where there is one, else params.
        teacher.start_student (bool): Whether a new student starts from the teacher's weights. Default: True. A run
            with ``path.pretrain_network_g``, or a resumed one, starts from that.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": PhasedOptions, "teacher": TeacherOptions}
    teacher: Any

    def prepare_start(self) -> None:
        """Load the teacher, check that it fits, and start the student from it.

        Raises:
            FileNotFoundError, ValueError: By key, see :mod:`lightbsr_model.training.teacher`.
        """
        teacher_opt = self.opt.get("teacher") or {}
        pairing = pairing_of(type(self.net_g))
        teacher = load_teacher(teacher_opt, pairing)
        start = teacher_opt.get("start_student", True)
        degradation = degradation_of_batches(self.opt.get("datasets", {}).get("train", {}))
        check_fit(teacher, self.net_g, pairing, start, degradation)
        if start and not self.opt["path"].get("pretrain_network_g"):
            start_from_teacher(self.net_g, teacher, pairing)
            get_root_logger().info(f"The student starts from its teacher, {teacher_opt['path']}.")
        self.teacher = teacher.to(self.device)
