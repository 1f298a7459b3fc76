"""As many epochs as the iterations need.

``basicsr/train.py:45`` rounds the iterations of an epoch up, but the loader drops the last, incomplete batch: 8 images,
batches of 5 and ``total_iter: 12`` stopped at 7, and fewer images than a batch trained nothing and saved that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from lightbsr_model.errors import OptionError


def count_whole_batches(create_train_val_dataloader: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``create_train_val_dataloader`` so that the number of epochs follows from the batches that really come."""

    @functools.wraps(create_train_val_dataloader)
    def wrapper(opt: dict[str, Any], logger: Any) -> Any:
        loader, sampler, val_loaders, _, total_iters = create_train_val_dataloader(opt, logger)
        batches = len(loader)
        if batches == 0:
            raise OptionError(
                f"datasets.train: {len(loader.dataset)} images times dataset_enlarge_ratio "
                f"{opt['datasets']['train'].get('dataset_enlarge_ratio', 1)} are fewer than a batch on every process "
                f"(batch_size_per_gpu {opt['datasets']['train']['batch_size_per_gpu']}, {opt['world_size']} processes): "
                "raise dataset_enlarge_ratio or lower batch_size_per_gpu."
            )
        return loader, sampler, val_loaders, math.ceil(total_iters / batches), total_iters

    return wrapper
