"""Where an interrupted adaptation goes on from: a file beside the result, until that is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightbsr_arch.errors import OptionError
from lightbsr_arch.saving import new_file
from lightbsr_arch.weights.checkpoints import read_checkpoint
from lightbsr_arch.weights.fingerprint import weights_sha256
from lightbsr_model.adaptation.adapting import Adapting


class SavedState:
    """The state of an adaptation, in a file.

    Args:
        result: The file that the adaptation is to write; the state lies beside it.
        facts: What decides the result, as plain values; a state of other facts is not taken.
        adapting: The adaptation.
    """

    def __init__(self, result: Path, facts: Mapping[str, Any], adapting: Adapting) -> None:
        self.path = result.with_name(f"{result.name}.state")
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        for part in adapting.targets.parts:
            digest.update(part.pixels.numpy().tobytes())
        digest.update(" ".join(sorted(adapting.references.names_by_content)).encode())
        digest.update(adapting.references.held_out.numpy().tobytes())
        digest.update(weights_sha256(adapting.start.state_dict()).encode())
        self.fingerprint = digest.hexdigest()
        self._adapting = adapting

    def resume(self) -> str:
        """Go on from the file, if there is one of this adaptation.

        Returns:
            A sentence for the user; empty where there is no file.
        """
        if not self.path.exists():
            return ""
        try:
            content = read_checkpoint(self.path)
            if content.get("fingerprint") != self.fingerprint:
                return f"{self.path} is of another adaptation (other images, model or options): this one begins anew."
            self._adapting.load(content["state"])
        except (OptionError, KeyError, ValueError, RuntimeError) as error:
            return f"{self.path} cannot be read ({error}): the adaptation begins anew."
        return f"goes on after step {self._adapting.state.iteration} of {self._adapting.iterations} ({self.path})."

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the file; it appears whole or not at all.

        Raises:
            WriteFailed: It cannot be written.
        """
        with new_file(self.path) as file:
            torch.save({"fingerprint": self.fingerprint, "state": dict(state)}, file)

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
