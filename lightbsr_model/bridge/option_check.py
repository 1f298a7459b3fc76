"""Check options before anything starts, and report all problems at once.

BasicSR takes unknown keys in silence (``ema_decy: 0.9``: no EMA), and finds a missing file or an image that is too small
when it comes to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import known_options as known
from lightbsr_model.bridge.file_check import check_files
from lightbsr_model.bridge.option_document import KeyPath, OptionDocument, Problem, sections
from lightbsr_model.models.mixed_precision import AMP_CHOICES


class OptionProblems(OptionError):
    """Everything that is wrong with the options of a run."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems))


class OptionCheck:
    """Collects the problems of one document.

    Args:
        document: What was read, forced values included.
        is_train: For training or for a test.
        strict: Whether what could be mended on the way (``num_gpu: 1`` without a GPU) is a problem too.
    """

    def __init__(self, document: OptionDocument, is_train: bool, strict: bool = False) -> None:
        self.document, self.options = document, document.options
        self.is_train, self.strict = is_train, strict
        self.problems: list[Problem] = list(document.problems)
        self.warnings: list[Problem] = []

    def run(self) -> list[Problem]:
        """Check everything; the problems in the order of the file."""
        self._top()
        if isinstance(self.options.get("datasets"), dict):
            self._datasets(self.options["datasets"])
        for key, network in sections(self.options, "network_"):
            self._typed((key,), network, ARCH_REGISTRY, "arch")
        self._paths()
        if self.is_train:
            self._train()
            self._logger()
        self._val()
        self._teacher()
        self._scales()
        self.problems += check_files(self.document, self.is_train, self.problems)
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    # ---- helpers

    def report(self, key: KeyPath, message: str) -> None:
        """Note a problem."""
        self.problems.append(self.document.problem(key, message))

    def _unknown(self, key: KeyPath, names: Collection[str], foreign: bool = False) -> None:
        message = f"unknown key{known.nearest(key[-1], names)}"
        if foreign:
            self.warnings.append(self.document.problem(key, f"{message}; the class is not BasicSR's, it may know it"))
        else:
            self.report(key, f"{message}; correct or remove it")

    def _section(self, key: KeyPath) -> dict[str, Any] | None:
        value: Any = self.options
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return None
        if not isinstance(value, dict):
            self.report(key, f"expected a section of keys, got {value!r}")
            return None
        return value

    def _required(self, section: Mapping[str, Any], key: KeyPath, names: Collection[str]) -> None:
        for name in names:
            if section.get(name) is None:
                self.report((*key, name), "missing")

    def _number(
        self, section: dict[str, Any], key: KeyPath, low: float, high: float = float("inf"), whole: bool = False
    ) -> None:
        value = section.get(key[-1])
        if value is None:
            return
        if whole and isinstance(value, float) and value.is_integer():
            section[key[-1]] = value = int(value)  # BasicSR's own files write 5e3
        kind = "a whole number" if whole else "a number"
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        limits = f" from {low:g} up" if high == float("inf") else f" from {low:g} to {high:g}"
        if not is_number or not low <= value <= high:
            self.report(key, f"expected {kind}{limits}, got {value!r}")

    def _typed(
        self,
        key: KeyPath,
        section: Any,
        registry: Any,
        what: str,
        without: Collection[str] = (),
        extra: Collection[str] = (),
    ) -> None:
        """Check a section whose ``type`` names a class and whose other keys are its arguments."""
        if not isinstance(section, dict) or not isinstance(section.get("type"), str):
            self.report(key, f"expected a section with the `type` of the {what}, got {section!r}")
            return
        names = list(registry.keys())
        try:
            cls = known.look_up(registry, section["type"])
        except OptionError as error:
            self.report((*key, "type"), str(error))
            return
        if cls is None:
            self.report(
                (*key, "type"), f"no {what} is named {section['type']!r}{known.nearest(section['type'], names)}"
            )
            return
        self._arguments(key, section, cls, without, extra)

    def _arguments(
        self, key: KeyPath, section: dict[str, Any], cls: Any, without: Collection[str], extra: Collection[str]
    ) -> None:
        arguments = known.arguments_of(cls, {"self", *without})
        if arguments is None:
            return
        for name, value in section.items():
            if name == "type" or name in extra:
                continue
            if name not in arguments:
                self._unknown((*key, name), arguments)
            else:
                self._like_default((*key, name), value, arguments[name].default)
        for name, parameter in arguments.items():
            if parameter.default is inspect.Parameter.empty and name not in section and name not in without:
                self.report((*key, name), "missing")

    def _like_default(self, key: KeyPath, value: Any, default: Any) -> None:
        if isinstance(default, bool):
            fits, expected = isinstance(value, bool), "true or false"
        elif isinstance(default, (int, float)):
            fits, expected = isinstance(value, (int, float)) and not isinstance(value, bool), "a number"
        elif isinstance(default, str):
            fits, expected = isinstance(value, str) or value is None, "a word"
        else:
            return
        if not fits and not (value is None and not isinstance(default, (bool, int, float))):
            self.report(key, f"expected {expected}, got {value!r}")

    def _model(self) -> type | None:
        name = self.options.get("model_type")
        return known.look_up(MODEL_REGISTRY, name) if name in MODEL_REGISTRY else None

    # ---- sections

    def _top(self) -> None:
        needed = [
            "name",
            "model_type",
            "datasets",
            "path",
            "num_gpu",
            *(["train", "logger"] if self.is_train else ["val"]),
        ]
        self._required(self.options, (), [name for name in needed if name != "path" or "path" not in self.options])
        name = self.options.get("model_type")
        try:
            known.look_up(MODEL_REGISTRY, name)
        except OptionError as error:
            self.report(("model_type",), str(error))
            name = None
        if name is not None and name not in MODEL_REGISTRY:
            self.report(("model_type",), f"no model is named {name!r}{known.nearest(str(name), MODEL_REGISTRY.keys())}")
        model = self._model()
        read = known.words_read_by(model) if model else set()
        names = known.TOP | ({"teacher"} if "teacher" in read else set())
        for key in self.options:
            if key not in names and not key.startswith("network_") and key not in read:
                self._unknown((key,), [*names, "network_g"], model is not None and known.is_foreign(model))
        self._number(self.options, ("scale",), 1, whole=True)
        self._number(self.options, ("manual_seed",), 0, whole=True)
        gpus = self.options.get("num_gpu")
        if gpus is not None and gpus != "auto":
            self._number(self.options, ("num_gpu",), 0, whole=True)
            if isinstance(gpus, int) and gpus > torch.cuda.device_count():
                problem = self.document.problem(
                    ("num_gpu",), f"{gpus} asked for, {torch.cuda.device_count()} found; `auto` takes what there is"
                )
                (self.problems if self.strict else self.warnings).append(problem)

    def _datasets(self, datasets: dict[str, Any]) -> None:
        phases = ("train", "val") if self.is_train else ("test", "val")
        if self.is_train and "train" not in datasets:
            self.report(("datasets", "train"), "missing")
        for key, dataset in datasets.items():
            place = ("datasets", key)
            if key.split("_")[0] not in phases or (key != "train" and key.split("_")[0] == "train"):
                self.report(
                    place, f"expected {' or '.join(phases)} (or {phases[1]}_<name>){known.nearest(key, phases)}"
                )
            if not isinstance(dataset, dict):
                self.report(place, f"expected a section of keys, got {dataset!r}")
                continue
            if dataset.get("type") not in DATASET_REGISTRY:
                names = list(DATASET_REGISTRY.keys())
                self.report(
                    (*place, "type"),
                    f"no data set is named {dataset.get('type')!r}{known.nearest(str(dataset.get('type')), names)}",
                )
                continue
            cls = DATASET_REGISTRY.get(dataset["type"])
            keys = known.LOADER | known.words_read_by(cls)
            for name in dataset:
                if name not in keys:
                    self._unknown((*place, name), keys, known.is_foreign(cls))
            self._required(
                dataset, place, ["name", *(["batch_size_per_gpu", "num_worker_per_gpu"] if key == "train" else [])]
            )
            self._number(dataset, (*place, "batch_size_per_gpu"), 1, whole=True)
            self._number(dataset, (*place, "num_worker_per_gpu"), 0, whole=True)
            self._number(dataset, (*place, "dataset_enlarge_ratio"), 1e-9)
            self._number(dataset, (*place, "gt_size"), 1, whole=True)
            self._number(dataset, (*place, "skip_bad_images"), 0, whole=True)
            if dataset.get("prefetch_mode") not in (None, "cpu", "cuda"):
                self.report((*place, "prefetch_mode"), f"expected cpu, cuda or ~, got {dataset['prefetch_mode']!r}")

    def _paths(self) -> None:
        for name in self._section(("path",)) or {}:
            if name not in known.PATH and not name.startswith(known.PATH_PREFIXES):
                self._unknown(("path", name), [*known.PATH, *(f"{prefix}g" for prefix in known.PATH_PREFIXES)])

    def _train(self) -> None:
        train = self._section(("train",))
        if train is None:
            return
        model = self._model()
        names = set(known.TRAIN) | (known.words_read_by(model) if model else set())
        for name, value in train.items():
            place = ("train", name)
            if name not in names and not name.startswith("optim_"):
                self._unknown(place, names, model is None or known.is_foreign(model))
            elif name.startswith("optim_"):
                self._typed(place, value, known.OPTIMISERS, "optimiser", without=("params",))
                if isinstance(value, dict):
                    self._number(value, (*place, "lr"), 0)
            elif name == "scheduler":
                given = ("optimizer", "last_epoch", "encoder_iter", "total_iter")
                self._typed(place, value, known.SCHEDULERS, "scheduler", without=given)
            elif name.endswith("_opt") and value:
                self._typed(place, value, LOSS_REGISTRY, "loss")
        self._required(train, ("train",), ["total_iter", "scheduler"])
        for name in ("total_iter", "accum_iter", "max_nonfinite", "keep_checkpoints"):
            self._number(train, ("train", name), 1, whole=True)
        self._number(train, ("train", "encoder_iter"), 0, whole=True)
        self._number(train, ("train", "warmup_iter"), -1, whole=True)
        self._number(train, ("train", "ema_decay"), 0, 1)
        self._number(train, ("train", "grad_clip"), 0)
        if train.get("amp") not in (None, False, *AMP_CHOICES):
            self.report(("train", "amp"), f"expected {', '.join(AMP_CHOICES)}, got {train['amp']!r}")
        self._schedule(train)

    def _schedule(self, train: dict[str, Any]) -> None:
        scheduler, total = train.get("scheduler"), train.get("total_iter")
        if not isinstance(scheduler, dict) or not isinstance(total, int):
            return
        periods = scheduler.get("periods")
        if scheduler.get("type") == "CosineAnnealingRestartLR" and isinstance(periods, list) and sum(periods) < total:
            self.report(
                ("train", "scheduler", "periods"),
                f"they end at iteration {sum(periods)}, before total_iter {total}: lengthen them",
            )
        encoder = train.get("encoder_iter")
        if isinstance(encoder, int) and encoder > total:
            self.report(("train", "encoder_iter"), f"expected at most total_iter, {total}, got {encoder}")
        warmup = scheduler.get("warmup_iter")
        if scheduler.get("type") == "TwoPhaseCosineLR" and isinstance(warmup, int) and warmup > total - (encoder or 0):
            self.report(
                ("train", "scheduler", "warmup_iter"),
                f"longer than the joint phase, {total - (encoder or 0)} iterations: shorten it",
            )

    def _logger(self) -> None:
        logger = self._section(("logger",)) or {}
        for name in logger:
            if name not in known.LOGGER:
                self._unknown(("logger", name), known.LOGGER)
        self._required(logger, ("logger",), ["print_freq", "save_checkpoint_freq"] if logger else [])
        for name in ("print_freq", "save_checkpoint_freq"):
            self._number(logger, ("logger", name), 1, whole=True)
        for name in self._section(("dist_params",)) or {}:
            if name not in known.DIST:
                self._unknown(("dist_params", name), known.DIST)

    def _val(self) -> None:
        val = self._section(("val",))
        if val is None:
            return
        model = self._model()
        names = known.VAL | (known.words_read_by(model) if model else set())
        for name in val:
            if name not in names:
                self._unknown(("val", name), known.VAL)
        self._required(val, ("val",), ["val_freq", "save_img"] if self.is_train else ["save_img"])
        self._number(val, ("val", "val_freq"), 1, whole=True)
        for name, metric in (self._section(("val", "metrics")) or {}).items():
            self._typed(
                ("val", "metrics", name), metric, METRIC_REGISTRY, "metric", ("img", "img2"), ("better", "num_thread")
            )

    def _teacher(self) -> None:
        teacher = self._section(("teacher",))
        if teacher is None:
            return
        for name in teacher:
            if name not in known.TEACHER:
                self._unknown(("teacher", name), known.TEACHER)
        if teacher.get("network") is not None:
            self._typed(("teacher", "network"), teacher["network"], ARCH_REGISTRY, "arch")

    def _scales(self) -> None:
        scale = self.options.get("scale")
        places: list[tuple[KeyPath, Any]] = []
        for key, network in [*sections(self.options, "network_"), ("teacher", (self.options.get("teacher") or {}))]:
            inner = network.get("network", network) if isinstance(network, dict) and key == "teacher" else network
            path = (key, "network") if key == "teacher" else (key,)
            if isinstance(inner, dict):
                places += [((*path, name), inner[name]) for name in ("scale", "upscale") if name in inner]
        for place, value in places:
            if scale is not None and value != scale:
                self.report(place, f"{value!r}, but scale is {scale!r}: make them equal")


def check_options(document: OptionDocument, source: str, is_train: bool, strict: bool = False) -> list[Problem]:
    """Check a document.

    Returns:
        Warnings.

    Raises:
        OptionProblems: With all problems.
    """
    check = OptionCheck(document, is_train, strict)
    problems = check.run()
    if problems:
        raise OptionProblems(source, problems)
    return check.warnings
