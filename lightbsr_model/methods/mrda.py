"""How MRDA learns, in four stages: its meta-learning network, how that adapts, the teacher, the student (arXiv 2207.13963)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.meta_learner import MetaLearner
from lightbsr_arch.methods.mrda import MRDA, MetaLearningNetwork, MRDATeacher
from lightbsr_model.degradation.base import params_of
from lightbsr_model.runtime.declared_keys import key, keys_of, values_of
from lightbsr_model.runtime.processes import average_over_processes
from lightbsr_model.training.batch_degrader import to_device
from lightbsr_model.training.blind_sr_model import BlindSRModel
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.inner_adaptation import AdaptingModel, AdaptOptions, known_gt
from lightbsr_model.training.phased_model import CheckedOptions
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.teacher import load_part
from lightbsr_model.training.train_options import EncoderPhaseOptions, OnePhaseOptions, TeacherOptions

_META_FILE = ("path", "pretrain_network_meta")

Problems = Iterator[tuple[tuple[str, ...], str]]


@MODEL_REGISTRY.register()
class MRDABicubicModel(BlindSRModel):
    """Stage 1: trains ``network_g`` of type MetaLearningNetwork by the pixel loss alone."""

    net_g: MetaLearningNetwork

    def represent_batch(self, net: MetaLearningNetwork) -> Tensor:
        """The feature after adapting to the HR image, averaged over the image."""
        return net.represent(self.lq, known_gt(self))


@dataclass(frozen=True)
class MetaOptions:
    """Keys of ``train.meta_opt``."""

    tasks: int = key("Degradations per step; task i takes that of the batch's sample i.", 5, low=1, high=1024)
    steps: int = key("Steps of the adaptation to each.", 5, low=1, high=1024)
    lr: float = key("Rate of these steps.", 1e-2, above=0, high=10)


@dataclass(frozen=True)
class MetaStageOptions(OnePhaseOptions):
    """Keys of ``train`` for MRDAMetaModel."""

    meta_opt: MetaOptions | None = key("How the network adapts within a step; ~ is as published.", {})


@MODEL_REGISTRY.register()
class MRDAMetaModel(MRDABicubicModel):
    """Stage 2: trains ``network_g`` of type MetaLearningNetwork to restore well after it has adapted.

    In each task of a step the whole batch has one degradation; its first half adapts, its second half judges. All in fp32:
    ``train.amp`` has no effect. Of several processes, each has a part of both halves, and all degrade by rank 0's.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        meta_opt (dict): ``tasks``, ``steps`` and ``lr``.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": MetaStageOptions}
    _lq_of_tasks: Tensor | None

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Problems:
        """A batch that cannot be halved or has fewer samples than tasks, and what the stage cannot do."""
        data, good = ("datasets", "train"), check.good
        batch = good(*data, "batch_size_per_gpu")
        part = None if batch is None else batch // (good("train", "accum_iter") or 1)
        place = ("train", "meta_opt", "tasks")
        tasks = good(*place) or (keys_of(MetaOptions)["tasks"].default if check.is_good(*place) else 0)
        if part is not None and part < 2:
            yield (
                (*data, "batch_size_per_gpu"),
                f"expected 2 or more, of which one half adapts and one judges, got {part}",
            )
        elif part is not None and tasks > part:
            yield (
                place,
                f"expected at most the batch (per process and part of accum_iter), {part}, got {tasks}: task i takes the "
                "degradation of sample i",
            )
        if good(*data, "degrade_in") == "loader":
            yield (*data, "degrade_in"), "the meta stage degrades each batch several times: take device"
        if good("train", "compile"):
            yield (
                ("train", "compile"),
                "the meta stage takes gradients within its pass, which cannot be compiled: take false",
            )

    def init_training_settings(self) -> None:
        """Read ``meta_opt`` too."""
        inner = values_of(MetaOptions, self.opt["train"].get("meta_opt") or {}, "train.meta_opt")
        self._tasks, self._rates = inner["tasks"], (inner["lr"],) * inner["steps"]
        super().init_training_settings()
        self.degrader.is_shared = True

    def build_phases(self) -> Sequence[Phase]:
        """Adaptation and judgement."""
        return (Phase("meta", None, (self.net_g,), "adapt_and_judge", self._losses),)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch to the device; a training batch is degraded once for each task.

        Raises:
            OptionError: A training batch is degraded already, cannot be halved, or has fewer samples than there are tasks.
        """
        if not self.is_train or "gt_views" not in data:
            super().feed_data(data)
            self._lq_of_tasks = None
            return
        tensors = to_device(data, self.device)
        count = len(tensors["gt_views"])
        if count < max(2, self._tasks):
            raise OptionError(
                "datasets.train.batch_size_per_gpu",
                f"expected {max(2, self._tasks)} or more: one half of the batch adapts, the other judges, and each of the "
                f"{self._tasks} tasks (train.meta_opt.tasks) takes the degradation of another sample; got {count}.",
            )
        params = params_of(self.degrader.degradation, tensors)
        batches = []
        for task in range(self._tasks):
            of_task = {name: value[task : task + 1].expand_as(value) for name, value in params.items()}
            batches.append(self.degrader({**tensors, **of_task}, self.arrange_views))
        self.batch = batches[0]
        self.lq, self.gt = self.batch.lq, cast("Tensor", self.batch.gt)
        self._lq_of_tasks = torch.stack([batch.lq for batch in batches])

    def _losses(self) -> Mapping[str, Tensor]:
        if self._lq_of_tasks is None:
            raise OptionError(
                "datasets.train.degrade_in",
                "the meta stage degrades each batch several times, and this data set gives degraded images: take "
                "BlindDegradationPairedDataset with degrade_in: device.",
            )
        judge = (self.cri_pix, None, average_over_processes)
        return {"l_pix": self.learning_pass(self._lq_of_tasks, self.gt, self._rates, *judge)}


_ADAPTATION = "How the meta-learning network adapts to each batch; ~ does not adapt it."


@dataclass(frozen=True)
class MRDATeacherOptions(OnePhaseOptions):
    """Keys of ``train`` for MRDATeacherModel."""

    adapt_opt: AdaptOptions | None = key(_ADAPTATION)


@MODEL_REGISTRY.register()
class MRDATeacherModel(AdaptingModel):
    """Stage 3: trains ``network_g`` of type MRDATeacher by the pixel loss alone; validates it with the GT image.

    The meta-learning network of ``path.pretrain_network_meta`` becomes a part of it, frozen.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": MRDATeacherOptions}
    net_g: MRDATeacher

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Problems:
        """A meta-learning network that is missing or does not fit."""
        good = check.good
        path = good(*_META_FILE)
        if path is None:
            if good("path", "pretrain_network_g") is None and good("path", "resume_state") is None:
                yield (
                    _META_FILE,
                    "missing; expected the meta-learning network that the teacher adapts (options/mrda/train_meta.yml)",
                )
            return
        scale, width = good("network_g", "scale"), good("network_g", "num_meta_feat") or 128
        if Path(path).expanduser().is_file() and scale in (2, 3, 4):
            try:
                with torch.device("meta"):
                    part = MetaLearningNetwork(scale, width)
                load_part(part, ".".join(_META_FILE), Path(path).expanduser(), good("path", "param_key_meta"))
            except OptionError as error:
                yield _META_FILE, error.message

    @property
    def meta(self) -> MetaLearner:
        """The teacher's own."""
        return self.net_g.meta

    def prepare_start(self) -> None:
        """Take in the meta-learning network.

        Raises:
            MissingFileError, OptionError: Its file is missing or does not fit.
        """
        paths = self.opt["path"]
        if paths.get("pretrain_network_g"):
            return  # a teacher's checkpoint has it
        if paths.get("pretrain_network_meta") is None:
            get_root_logger().warning("path.pretrain_network_meta is not given: the teacher adapts random weights.")
            return
        file = Path(paths["pretrain_network_meta"]).expanduser()
        self.net_g.meta.load_state_dict(
            load_part(self.net_g.meta, ".".join(_META_FILE), file, paths.get("param_key_meta"))
        )

    def build_phases(self) -> Sequence[Phase]:
        """Restoration by the adapted feature."""
        learns = (self.net_g.extractor, self.net_g.sr)
        return (Phase("restoration", None, learns, "restore_by_feature", self._losses),)

    def _losses(self) -> Mapping[str, Tensor]:
        return self.pixel_loss(self.learning_pass(self.lq, self.adapted_feature(learning=True)))

    def restore_batch(self, net: MRDATeacher) -> Tensor:
        """Restore by the feature after adapting to the GT image: an oracle."""
        return net.restore_by_feature(self.lq, self.adapted_feature(learning=False))

    def represent_batch(self, net: MRDATeacher) -> Tensor:
        """The code of that feature."""
        return net.encode_feature(self.adapted_feature(learning=False))


@dataclass(frozen=True)
class StudentAdaptOptions(AdaptOptions):
    """Keys of ``train.adapt_opt`` for MRDAStudentModel."""

    tail: bool = key("Adapt what lies behind the feature too: the upsampler and the last convolution.", False)


@dataclass(frozen=True)
class MRDAStudentOptions(EncoderPhaseOptions):
    """Keys of ``train`` for MRDAStudentModel."""

    channel_opt: dict[str, Any] = key("The distillation loss of the code, in both phases.", kind="loss")
    adapt_opt: StudentAdaptOptions | None = key(_ADAPTATION)


@dataclass(frozen=True)
class MRDATeacherSection(TeacherOptions):
    """Keys of ``teacher`` for MRDAStudentModel."""

    meta_path: str | None = key(
        "Checkpoint of the meta-learning network, for a teacher's checkpoint of the published code, which lacks it.",
        None,
    )


@MODEL_REGISTRY.register()
class MRDAStudentModel(AdaptingModel, DistillationModel):
    """Stage 4: trains ``network_g`` of type MRDA under a frozen MRDATeacher, whose meta-learning network adapts to each batch.

    Options, under ``train``, besides those of :class:`AdaptingModel`; the teacher's are in :class:`DistillationModel`:
        encoder_iter (int): Length of the encoder phase in iterations; the joint phase is the rest of ``total_iter``.
        channel_opt (dict): ChannelDistillationLoss between the codes, in both phases.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": MRDAStudentOptions, "teacher": MRDATeacherSection}
    adapt_section: ClassVar[type] = StudentAdaptOptions
    net_g: MRDA

    @property
    def meta(self) -> MetaLearner:
        """The teacher's."""
        meta: MetaLearner = self.teacher.meta
        return meta

    def init_training_settings(self) -> None:
        """Build the distillation loss too."""
        self.cri_channel = self.required_loss("channel_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """The code alone, then the code and restoration."""
        net, length = self.net_g, self.phase_length("encoder_iter")
        return (
            Phase("encoder", length, (net.extractor,), "encode", self._encoder_losses),
            Phase("joint", None, (net,), "encode_and_restore", self._joint_losses),
        )

    def _encoder_losses(self) -> Mapping[str, Tensor]:
        target = self._teacher_code()
        return self._distillation(self.learning_pass(self.lq), target)

    def _joint_losses(self) -> Mapping[str, Tensor]:
        target = self._teacher_code()
        code, output = self.learning_pass(self.lq)
        return {**self._distillation(code, target), **self.pixel_loss(output)}

    def _teacher_code(self) -> Tensor:
        feature = self.adapted_feature(learning=True)
        with torch.no_grad(), self.precision.autocast():
            code: Tensor = self.teacher.encode_feature(feature)
        return code

    def _distillation(self, code: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"l_channel": self.cri_channel(code.float(), target.float())}
