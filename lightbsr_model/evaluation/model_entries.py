"""The list of models in the YAMLs of ``lightbsr compare`` and ``lightbsr analyze``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from lightbsr_arch import infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.registry import method_with
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.model_files import bundled_model
from lightbsr_model.adaptation.adapting import GuardedAdaptation
from lightbsr_model.evaluation.settings_reader import SettingsReader
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import KeyPath
from lightbsr_model.option_files.file_check import blank_network
from lightbsr_model.option_files.folder_names import name_fault
from lightbsr_model.option_files.section_check import names_in
from lightbsr_model.option_files.suggestions import nearest
from lightbsr_model.training.adaptation import build_adaptation

_PADDED_BY = {"SwinIR": "SwinIRModel"}
"""Archs of BasicSR's own that need an image padded, which a model of its own does."""


def model_type_of(network: str) -> str:
    """The ``model_type`` that runs a network: SRModel, unless it sees more than the LR image or needs that padded."""
    method = method_with(network)
    return (_PADDED_BY if method is None else method.runs_by).get(network, "SRModel")


@dataclass(frozen=True)
class ModelEntry:
    """One of the models that are compared: a network, or a folder of existing SR images."""

    name: str
    """Name in tables and file names; unique."""
    network: Mapping[str, Any] | None = None
    """``type`` (any arch of BasicSR's registry, or a dotted name) and its arguments. May be left out for a checkpoint of
    ours or of a published code, from which the sizes are inferred."""
    path: str | None = None
    """Its checkpoint, or the name of a bundled model; without one the network runs as initialised (bicubic has no
    weights)."""
    param_key: str | None = None
    """Entry of the checkpoint. Default: params_ema if present, else params."""
    model_type: str | None = None
    """BasicSR model that runs it. Default: SRModel, or the one that the arch needs."""
    adapt: Mapping[str, Any] | None = None
    """Adapts the network to each image before it is restored: an adaptation's name (``references``), or ``type`` and arguments,
    as ``val: {adaptation: ...}`` of an option file. Default: none."""
    results: str | None = None
    """Instead of a network: a folder of SR images."""
    results_tmpl: str = "{set}/{preset}/{image}.png"
    """Path of an image in that folder."""
    code: str | None = None
    """For ``lightbsr analyze``: the module whose output is the code, by its dotted name in the network; a feature map is
    averaged. Default: what the network's ``represent`` returns."""
    lr: str | None = None
    """Folder of the LR images that those were made from, laid out in the same way, to compare with ours. Without it the
    tables note that the LR images were not checked."""


def network_of(entry: ModelEntry) -> dict[str, Any]:
    """The ``network_g`` of an entry: as given, completed from its checkpoint.

    Raises:
        OptionError: No network is given, and it cannot be inferred from the checkpoint.
    """
    given = dict(entry.network or {})
    if "type" in given:
        return given
    if entry.path is None:
        raise OptionError("expected `network`, `path` or `results`")
    try:
        return {**infer_options(load_state_dict(entry.path, entry.param_key)), **given}
    except ValueError as error:
        raise OptionError(
            f"the network cannot be inferred from {entry.path} ({error}): give `network` with its type"
        ) from error


class ModelListReader(SettingsReader):
    """Reads a YAML with a list of ``models``."""

    def read_models(self) -> tuple[ModelEntry, ...]:
        """The entries of the list that can be read."""
        models = self.options.get("models", [])
        if not isinstance(models, list) or not models:
            self.report(("models",), f"expected a list of models, got {models!r}")
            return ()
        entries: list[ModelEntry] = []
        keys = {field.name for field in fields(ModelEntry)}
        for number, given in enumerate(models):
            place = ("models", str(number))
            if not isinstance(given, dict) or not isinstance(given.get("name"), str):
                self.report(place, f"expected a section with a `name`, got {given!r}")
                continue
            for key in given:
                if key not in keys:
                    self.report((*place, key), f"unknown key{nearest(key, keys)}; correct or remove it")
            values = {key: value for key, value in given.items() if key in keys and value is not None}
            if isinstance(values.get("adapt"), str):
                values["adapt"] = {"type": values["adapt"]}
            values["path"] = bundled_model(str(values.get("path"))) or values.get("path")
            entry = ModelEntry(**{**values, "path": None if values["path"] is None else str(values["path"])})
            if (fault := name_fault(entry.name)) is not None:
                self.report((*place, "name"), fault)
            if any(entry.name == other.name for other in entries):
                self.report((*place, "name"), f"{entry.name!r} is used twice: each model needs its own name")
            self._check_model(place, entry)
            entries.append(entry)
        return tuple(entries)

    def _check_model(self, place: KeyPath, entry: ModelEntry) -> None:
        if entry.results is not None:
            for key in ("network", "path", "model_type", "param_key", "adapt"):
                if getattr(entry, key) is not None:
                    self.report((*place, key), "has no effect together with `results`; leave out one of the two")
            for key, folder in (("results", entry.results), ("lr", entry.lr)):
                if folder is not None and not Path(folder).expanduser().is_dir():
                    self.report((*place, key), f"there is no folder {folder}")
            return
        if entry.lr is not None:
            self.report((*place, "lr"), "only for existing `results`; a network restores our LR images")
        if entry.path is not None and not Path(entry.path).expanduser().is_file():
            self.report((*place, "path"), f"there is no file {entry.path}")
            return
        for key, registry, name in (
            ("network", ARCH_REGISTRY, (entry.network or {}).get("type")),
            ("model_type", MODEL_REGISTRY, entry.model_type),
        ):
            try:
                if name is not None and look_up(registry, name) is None:
                    self.report((*place, key), f"no {key} is named {name!r}{nearest(str(name), names_in(registry))}")
                    return
            except OptionError as error:  # noqa: PERF203 - two of them
                self.report((*place, key), str(error))
                return
        try:
            adaptation = build_adaptation(entry.adapt)
            network = network_of(entry)
        except (OptionError, ValueError) as error:
            self.report(place, str(error))
            return
        try:
            net = blank_network(network)
        except OptionError as error:
            self.report((*place, "network"), str(error))
            return
        method = method_with(network["type"])
        if method is not None and network["type"] in method.command:
            needed, command = (names[network["type"]] for names in (method.needs, method.command))
            self.report(
                place, f"{network['type']} needs {needed}, which a comparison has not; `lightbsr {command}` has"
            )
            return
        try:
            if isinstance(adaptation, GuardedAdaptation):
                adaptation.check(net, network["type"])
        except OptionError as error:
            self.report((*place, "adapt"), str(error))
            return
        scale = network.get("scale", network.get("upscale"))
        wanted = self.options.get("scale")
        if scale is not None and scale != wanted:
            self.report(place, f"the network's scale is {scale}, the comparison's is {wanted!r}")
