"""Models of BasicSR that train LightBSR, its teacher, and the methods beside it."""

from lightbsr_model.models.cdcl_model import CdCLModel
from lightbsr_model.models.dasr_model import DASRModel
from lightbsr_model.models.kdsr_model import KDSRStudentModel, KDSRTeacherModel
from lightbsr_model.models.lightbsr_student_model import LightBSRStudentModel
from lightbsr_model.models.lightbsr_teacher_model import LightBSRTeacherModel
from lightbsr_model.models.schedule import TwoPhaseCosineLR, TwoPhaseStepLR
from lightbsr_model.models.two_phase_model import TwoPhaseModel

__all__ = [
    "CdCLModel",
    "DASRModel",
    "KDSRStudentModel",
    "KDSRTeacherModel",
    "LightBSRStudentModel",
    "LightBSRTeacherModel",
    "TwoPhaseCosineLR",
    "TwoPhaseModel",
    "TwoPhaseStepLR",
]
