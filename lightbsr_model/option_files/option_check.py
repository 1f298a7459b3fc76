"""Check options before anything starts, and report all problems at once.

BasicSR takes unknown keys in silence (``ema_decy: 0.9``: no EMA), and finds a missing file or an image that is too small
when it comes to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import torch
from basicsr import __version__ as basicsr_version
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files import known_options as known
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import KeyPath, OptionDocument, Problem, sections
from lightbsr_model.option_files.file_check import check_files
from lightbsr_model.option_files.folder_names import name_fault
from lightbsr_model.option_files.keys_read import keys_read_by
from lightbsr_model.option_files.suggestions import nearest
from lightbsr_model.training.mixed_precision import AMP_CHOICES


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
        self.model: type | None = None
        """The class of ``model_type``; None where there is none of that name."""

    def run(self) -> list[Problem]:
        """Check everything; the problems in the order of the file."""
        if not self.document.was_read:
            return self.problems
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
        return sorted(self.problems, key=lambda problem: problem.position)

    # ---- helpers

    def report(self, key: KeyPath, message: str) -> None:
        """Note a problem."""
        self.problems.append(self.document.problem(key, message))

    def warn(self, key: KeyPath, message: str) -> None:
        """Note something that a run can do with."""
        self.warnings.append(self.document.problem(key, message))

    def _unknown(self, key: KeyPath, names: Collection[str]) -> None:
        self.report(key, f"unknown key{nearest(key[-1], names)}; correct or remove it")

    def _unread(
        self, key: KeyPath, names: Collection[str], reader: type | None, registry: Any, section: KeyPath
    ) -> None:
        """Judge a key that ``reader`` does not read from a section (as the reader sees it); None: nobody can say."""
        if reader is None:
            return
        if known.is_basicsr(reader):
            others = [
                name for name, cls in registry if known.is_basicsr(cls) and key[-1] in keys_read_by(cls).of(*section)
            ]
            if others:
                self._idle(key, f"{reader.__name__} does not read it, {_first(others)} does")
                return
        if known.is_foreign(reader) or keys_read_by(reader).may_read_more(*section):
            self.warn(
                key,
                f"unknown key{nearest(key[-1], names)}; {reader.__name__} is not BasicSR's, it may know it all the same",
            )
            return
        places = {":".join(path[:-1]) for path in keys_read_by(reader).paths if path[-1] == key[-1]} - {""}
        if places and section not in {tuple(place.split(":")) for place in places}:
            self.report(key, f"unknown key here; it is read from {_first(sorted(places))}: move or remove it")
        else:
            self._unknown(key, names)

    def _idle(self, key: KeyPath, reason: str) -> None:
        value: Any = self.options
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            self.warn(key, f"has no effect: {reason}")

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

    def _is_bool(self, section: Mapping[str, Any], key: KeyPath) -> None:
        if not isinstance(section.get(key[-1], False), bool) and section[key[-1]] is not None:
            self.report(key, f"expected true or false, got {section[key[-1]]!r}")

    def _names_a_folder(self, section: Mapping[str, Any], key: KeyPath) -> None:
        if section.get(key[-1]) is not None and (fault := name_fault(section[key[-1]])) is not None:
            self.report(key, fault)

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
        cls = self._class((*key, "type"), registry, section["type"], what)
        if cls is not None:
            self._arguments(key, section, cls, without, extra)

    def _class(self, key: KeyPath, registry: Any, name: Any, what: str) -> Any:
        """The class that BasicSR will find under a name; None, and a problem, if there is none."""
        try:
            cls = look_up(registry, name)
        except OptionError as error:
            self.report(key, str(error))
            return None
        if cls is None:
            hint = nearest(str(name), known.names_in(registry))
            if not isinstance(registry, dict):
                hint += f"; neither BasicSR {basicsr_version} nor lightbsr has it: for one of another package write "
                hint += f"package.module.{name}"
            self.report(key, f"no {what} is named {name!r}{hint}")
        return cls

    def _arguments(
        self, key: KeyPath, section: dict[str, Any], cls: Any, without: Collection[str], extra: Collection[str]
    ) -> None:
        arguments, takes_any = known.arguments_of(cls, {"self", *without})
        # BasicSR's metrics take any argument and drop it.
        takes_any = takes_any and not (key[0] == "val" and known.is_basicsr(cls))
        ignored = getattr(cls, "ignored_options", {})
        for name, value in section.items():
            if name == "type" or name in extra:
                continue
            if name not in arguments and name in known.NEVER_READ["network"] and key[0].startswith("network_"):
                self._idle((*key, name), "no network reads it; it is a key of train")
            elif name in ignored:
                self._idle((*key, name), ignored[name])
            elif name not in arguments and not takes_any:
                self._unknown((*key, name), arguments)
            elif name in arguments:
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

    def _model_reads(self, *section: str) -> set[str]:
        return keys_read_by(self.model).of(*section) if self.model is not None else set()

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
        self._names_a_folder(self.options, ("name",))
        if self.options.get("model_type") is not None:
            self.model = self._class(("model_type",), MODEL_REGISTRY, self.options["model_type"], "model")
        read = self._model_reads()
        names = known.TOP | ({"teacher"} & read)
        for key in self.options:
            if key in names or key in read:
                continue
            if key in known.NEVER_READ[""]:
                self._idle((key,), "BasicSR does not read it at the top of a file")
            elif not key.startswith("network_") or (self.model is not None and not known.is_foreign(self.model)):
                self._unread((key,), [*names, *read, "network_g"], self.model, MODEL_REGISTRY, ())
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
                self.report(place, f"expected {' or '.join(phases)} (or {phases[1]}_<name>){nearest(key, phases)}")
            if not isinstance(dataset, dict):
                self.report(place, f"expected a section of keys, got {dataset!r}")
                continue
            self._names_a_folder(dataset, (*place, "name"))
            cls = self._class((*place, "type"), DATASET_REGISTRY, dataset.get("type"), "data set")
            if cls is None:
                continue
            keys = known.LOADER | keys_read_by(cls).of() | self._model_reads("datasets", key)
            for name in dataset:
                if name in known.NEVER_READ["datasets"]:
                    self._idle((*place, name), "BasicSR does not read it")
                elif name not in keys:
                    self._unread((*place, name), keys, cls, DATASET_REGISTRY, ())
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
        names = known.TRAIN | self._model_reads("train")
        for name, value in train.items():
            place = ("train", name)
            if name not in names:
                self._unread(place, names, self.model, MODEL_REGISTRY, ("train",))
            if name.startswith("optim_"):
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
        names = known.VAL | self._model_reads("val")
        for name in val:
            if name not in names:
                self._unread(("val", name), names, self.model, MODEL_REGISTRY, ("val",))
        self._required(val, ("val",), ["val_freq", "save_img"] if self.is_train else ["save_img"])
        self._number(val, ("val", "val_freq"), 1, whole=True)
        self._is_bool(val, ("val", "save_img"))
        if val.get("suffix"):
            self._names_a_folder(val, ("val", "suffix"))
        for name, metric in (self._section(("val", "metrics")) or {}).items():
            self._typed(
                ("val", "metrics", name), metric, METRIC_REGISTRY, "metric", ("img", "img2"), ("better", "num_thread")
            )
            if isinstance(metric, dict):
                self._number(metric, ("val", "metrics", name, "crop_border"), 0, whole=True)

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


def _first(names: list[str]) -> str:
    return names[0].removesuffix("_basicsr") + (" among others" if len(names) > 1 else "")


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
