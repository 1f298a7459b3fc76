"""What the pieces of one training run know of each other.

BasicSR's ``train_pipeline`` calls one function after the other and keeps what they return in its own variables; this is
where our stand-ins for those functions meet.
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
    """The state that the run goes on from."""
    val_loaders: list[Any] = field(default_factory=list)
    """Validation loaders in the order of the options."""
    train_set: Any = None
    """The supervised training set."""
    sampler: Any = None
    """The training sampler, which knows the epoch."""
    batches: int = 0
    """Iterations an epoch."""
    tb_logger: Any = None
    """TensorBoard's writer, on rank 0."""

    def reset(self) -> None:
        """Forget everything: a process's next run starts from nothing."""
        self.__dict__.update(Run().__dict__)

    def start_data(self, loader: Any, sampler: Any, val_loaders: list[Any], batches: int) -> None:
        """Take the loaders over; in a resumed run, start them where the state was saved.

        The state's epoch, from which BasicSR's loop counts on, is set to the one that its iteration lies in.
        """
        self.train_set, self.sampler, self.val_loaders, self.batches = loader.dataset, sampler, val_loaders, batches
        if self.resume_state is not None:
            epoch, done = divmod(self.resume_state["iter"], batches)
            self.resume_state["epoch"] = epoch
            sampler.start_at(epoch, done * loader.batch_size)
