"""The shared state of one training run.

BasicSR's ``train_pipeline`` calls one function after the other and keeps their results in local variables; the functions that
replace them here share this object instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Run:
    """One training run, from its options to its last iteration."""

    given_options: Any = None
    """The options as the user gave them, see ``option_parsing``."""
    resume_state: dict[str, Any] | None = None
    """The training state that the run resumes from."""
    val_loaders: list[Any] = field(default_factory=list)
    """Validation loaders in the order of the options."""
    train_set: Any = None
    sampler: Any = None
    batches: int = 0
    """Number of iterations per epoch."""
    tb_logger: Any = None
    """TensorBoard's writer, on rank 0."""

    def reset(self) -> None:
        """Reset everything for the next run of this process."""
        self.__dict__.update(Run().__dict__)

    def start_data(self, loader: Any, sampler: Any, val_loaders: list[Any], batches: int) -> None:
        """Store the loaders; in a resumed run, start them where the state was saved.

        The state's epoch, from which BasicSR's loop continues counting, is set to the one that contains its iteration.
        """
        self.train_set, self.sampler, self.val_loaders, self.batches = loader.dataset, sampler, val_loaders, batches
        if self.resume_state is not None:
            epoch, done = divmod(self.resume_state["iter"], batches)
            self.resume_state["epoch"] = epoch
            sampler.start_at(epoch, done * loader.batch_size)
