"""Check options before anything starts, and report all problems at once.

BasicSR takes unknown keys in silence (``ema_decy: 0.9``: no EMA), and finds a missing file or an image that is too small
when it comes to it. What our keys may be is declared (:mod:`~lightbsr_model.option_files.declared`), and which keys a model
or data set has; what BasicSR's and other people's classes read is found in their source.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.class_options import declared, declares, may_read_more, reads, sections_with
from lightbsr_model.option_files.consistency import misfits
from lightbsr_model.option_files.declared import sections
from lightbsr_model.option_files.declared.kinds import is_basicsr, is_foreign
from lightbsr_model.option_files.document import KeyPath, OptionDocument, Problem
from lightbsr_model.option_files.file_check import FileCheck
from lightbsr_model.option_files.folder_names import name_fault
from lightbsr_model.option_files.section_check import SectionCheck
from lightbsr_model.option_files.suggestions import nearest
from lightbsr_model.runtime.declared_keys import REQUIRED, Key, Rule, keys_of, shown
from lightbsr_model.training.train_options import LoopOptions, SROptions, TeacherOptions

NEVER_READ = {"": ("suffix", "save_img", "crop_border"), "datasets": ("use_shuffle",)}
"""Keys that BasicSR's own option files carry, by section, and that nothing in BasicSR 1.4.2 reads there."""


class OptionProblems(OptionError):
    """Everything that is wrong with the options of a run."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


class OptionCheck(SectionCheck):
    """Collects the problems of one document.

    Args:
        document: What was read, forced values included.
        is_train: For training or for a test.
        strict: Whether what a run can do with all the same (``num_gpu: 1`` without a GPU) is a problem too.
    """

    def __init__(self, document: OptionDocument, is_train: bool, strict: bool = False) -> None:
        super().__init__(document)
        self.is_train, self.strict = is_train, strict
        self.model: Any = None
        """The class of ``model_type``; None where there is none of that name."""

    def run(self) -> list[Problem]:
        """Check everything; the problems in the order of the file."""
        if not self.document.was_read:
            return self.problems
        self._top()
        for name in self.section("datasets"):
            self._data_set(name)
        self.closed(("path",), sections.Path)
        self.closed(("dist_params",), sections.DistParams)
        if self.is_train:
            if isinstance(self.at("train"), dict):
                self._train()
            if isinstance(self.at("logger"), dict):
                self.closed(("logger",), sections.Logger)
        self._val()
        self._teacher()
        for key, message in (*misfits(self), *self._of_the_model()):
            self.report(key, message)
        for key, message in FileCheck(self).problems():
            self.report(key, message)
        # What a list of sets and presets stands for is several data sets: one line of the file, one problem.
        found: dict[Any, Problem] = {}
        for problem in self.problems:
            twins = problem.key if problem.line is None else problem.key[-1:]
            found.setdefault((problem.position, twins, problem.message), problem)
        return sorted(found.values(), key=lambda problem: problem.position)

    def _of_the_model(self) -> Iterator[tuple[KeyPath, str]]:
        """What the model knows of its options; of a training, as a test needs none of it."""
        if self.is_train and hasattr(self.model, "check_options"):
            yield from self.model.check_options(self)

    # ---- keys that nothing reads

    def _unread(
        self, names: Collection[str], reader: Any, registry: Any, section: KeyPath = ()
    ) -> Callable[[KeyPath], None]:
        """How a key is judged that ``reader`` does not read from a section (as the reader sees it)."""

        def judge(key: KeyPath) -> None:
            if reader is None:
                return  # nobody can say
            if is_basicsr(reader):
                others = [name for name, cls in registry if is_basicsr(cls) and key[-1] in reads(cls, *section)]
                if others:
                    self.idle(key, f"{reader.__name__} does not read it, {_first(others)} does")
                    return
            if may_read_more(reader):
                self.warn(
                    key,
                    f"unknown key{nearest(key[-1], names)}; {reader.__name__} is not BasicSR's, it may know it all the same",
                )
                return
            places = sections_with(reader, key[-1])
            if places and ":".join(section) not in places:
                self.report(key, f"unknown key here; it is read from {_first(sorted(places))}: move or remove it")
            else:
                self.unknown(key, set(names))

        return judge

    # ---- sections

    def _top(self) -> None:
        if self.options.get("model_type") is not None:
            self.model = self.class_of(("model_type",), MODEL_REGISTRY, self.options["model_type"], "model")
        of_file = sections.TrainingTop if self.is_train else sections.TestTop
        keys = {**keys_of(of_file), **declared(self.model)}
        own = [*getattr(self.model, "declared_options", {})]
        own += [*getattr(self.model, "networks", ()), *getattr(self.model, "optional_networks", ())]
        of_model = {*reads(self.model), *own}
        names = {name for name, key in keys.items() if not key.rule.prefix} | of_model
        names |= {"train", "val", "logger", "network_g"}
        judge = self._unread(names, self.model, MODEL_REGISTRY)

        def unknown(key: KeyPath) -> None:
            if key[0] in NEVER_READ[""]:
                self.idle(key, "BasicSR does not read it at the top of a file")
            elif not key[0].startswith("network_") or not (self.model is None or is_foreign(self.model)):
                judge(key)

        self.keys((), keys, lambda name: name in names, unknown)
        self._names_a_folder("name")
        gpus = self.good("num_gpu")
        if isinstance(gpus, int) and gpus > torch.cuda.device_count():
            message = f"{gpus} asked for, {torch.cuda.device_count()} found; `auto` takes what there is"
            (self.report if self.strict else self.warn)(("num_gpu",), message)

    def _names_a_folder(self, *key: str) -> None:
        if self.good(*key) is not None and (fault := name_fault(self.at(*key))) is not None:
            self.report(key, fault)

    def _data_set(self, name: str) -> None:
        place, phases = ("datasets", name), ("train", "val") if self.is_train else ("test", "val")
        if name.split("_")[0] not in phases or (name != "train" and name.split("_")[0] == "train"):
            self.report(place, f"expected {' or '.join(phases)} (or {phases[1]}_<name>){nearest(name, phases)}")
        if not isinstance(self.at(*place), dict):
            self.report(place, f"expected a section of keys, got {shown(self.at(*place))}")
            return
        kind = self.at(*place, "type")
        cls = None if kind is None else self.class_of((*place, "type"), DATASET_REGISTRY, kind, "data set")
        loader = keys_of(sections.TrainingLoader if name == "train" else sections.Loader)
        names = {*loader, *declared(cls), *reads(cls), *reads(self.model, *place)}
        keys = {**keys_of(sections.BasicSRSet), **loader, **declared(cls)}
        if name == "train" and cls is not None and is_basicsr(cls) and "gt_size" in names:
            keys["gt_size"] = replace(keys["gt_size"], default=REQUIRED)
        judge = self._unread(names, cls, DATASET_REGISTRY)

        def unknown(key: KeyPath) -> None:
            if key[-1] in NEVER_READ["datasets"]:
                self.idle(key, "BasicSR does not read it")
            else:
                judge(key)

        self.keys(place, keys, lambda name: name in names, unknown)
        self._names_a_folder(*place, "name")

    def _train(self) -> None:
        own = declared(self.model, "train")
        keys = {**keys_of(SROptions), **own}
        names = {*(own or keys_of(LoopOptions)), *reads(self.model, "train")} - {"optim_"}
        for name in self.section("train"):
            if name.endswith("_opt") and name not in keys:
                keys[name] = Key(name, dict[str, Any] | None, Rule("A loss.", kind="loss"))
        # What other people's models need, they know.
        free = self.model is None or not (declares(self.model) or is_basicsr(self.model))
        needs = keys_of(LoopOptions)
        judge = self._unread(names, self.model, MODEL_REGISTRY, ("train",))
        self.keys(("train",), keys, lambda name: name in names, judge, lambda name: free and name not in needs)

    def _val(self) -> None:
        of_file = keys_of(sections.TrainingVal if self.is_train else sections.Val)
        own = {
            **(keys_of(sections.SRVal) if self.model is not None and declares(self.model) else {}),
            **declared(self.model, "val"),
        }
        names = {*of_file, *own, *reads(self.model, "val")}
        judge = self._unread(names, self.model, MODEL_REGISTRY, ("val",))
        if isinstance(self.at("val"), dict):
            self.keys(("val",), {**keys_of(sections.SRVal), **of_file, **own}, lambda name: name in names, judge)
        self._names_a_folder("val", "suffix")
        for name in self.section("val", "metrics"):
            self.typed(("val", "metrics", name), self.at("val", "metrics", name), "metric")

    def _teacher(self) -> None:
        own = declared(self.model, "teacher")
        keys = own or keys_of(TeacherOptions)
        if own and self.is_train and self.at("teacher") is None:
            self.report(
                ("teacher",),
                f"missing; {self.model.__name__} learns under a trained teacher: give its network and path",
            )
        elif self.at("teacher") is not None and not isinstance(self.at("teacher"), dict):
            self.report(("teacher",), f"expected a section of keys, got {shown(self.at('teacher'))}")
        elif isinstance(self.at("teacher"), dict):
            self.keys(("teacher",), keys, lambda name: name in keys, lambda key: self.unknown(key, set(keys)))


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
