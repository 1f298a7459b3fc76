"""Models of BasicSR that train LightBSR's teacher and student."""

from lightbsr_model.models.lightbsr_student_model import LightBSRStudentModel
from lightbsr_model.models.lightbsr_teacher_model import LightBSRTeacherModel
from lightbsr_model.models.schedule import TwoPhaseCosineLR
from lightbsr_model.models.two_phase_model import TwoPhaseModel

__all__ = ["LightBSRStudentModel", "LightBSRTeacherModel", "TwoPhaseCosineLR", "TwoPhaseModel"]
