"""The training loader of a run: it resumes at any sample, seeds each sample by its position, and names unreadable images.

Replaces ``create_train_val_dataloader`` of ``basicsr/train.py`` and of the stock script, and works around these bugs:

- train.py:45 rounds the iterations of an epoch up, but the loader drops the last, incomplete batch: 8 images, batches of 5
  and ``total_iter: 12`` stopped at 7; fewer images than a batch trained nothing and saved that.
- train.py:129 starts a resumed run's epoch again from its first batch.
- data/data_sampler.py:31 shuffles by the epoch alone, so that ``manual_seed`` does not change the order.
- data/__init__.py:97 gives each epoch's workers the same random numbers.
- data/prefetch_dataloader.py:74: prefetch_mode cuda fails without a GPU.
- data/prefetch_dataloader.py:118 copies a batch on a separate stream and uses it on another: its memory could be reused
  while the training still read it.
- data/prefetch_dataloader.py:29: after an error in the prefetching thread the training hung.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import CUDAPrefetcher, PrefetchGenerator
from torch.utils.data import Dataset, Sampler

from lightbsr_arch.display import printable
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.run import Run
from lightbsr_model.bridge.stopping import shield_worker
from lightbsr_model.option_files.class_options import for_its_model
from lightbsr_model.runtime.random_streams import derive_seed, seeded


class SampleIndex(int):
    """An index that carries its sample's seed. A plain int to everything else."""

    seed: int

    def __new__(cls, index: int, seed: int) -> SampleIndex:
        """Create an int that carries a seed."""
        sample = super().__new__(cls, index)
        sample.seed = seed
        return sample

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleIndex, (int(self), self.seed)


class ResumableSampler(Sampler[SampleIndex]):
    """A shuffled, enlarged epoch, split over the ranks, that can start in its middle.

    Args:
        dataset: The data set, for its length.
        world_size: Number of ranks.
        rank: This rank.
        ratio: How often each image occurs in an epoch.
        seed: ``manual_seed``; the order and the samples' seeds are functions of it, the epoch and the position in the epoch.
    """

    def __init__(self, dataset: Sized, world_size: int, rank: int, ratio: float, seed: int) -> None:
        self.size = len(dataset)
        self.world_size = world_size
        self.rank = rank
        self.seed = seed
        self.num_samples = math.ceil(self.size * ratio / world_size)
        self.epoch: int | None = None
        self._skip: tuple[int, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def start_at(self, epoch: int, samples: int) -> None:
        """Skip the first samples of an epoch, which an earlier process has used."""
        self._skip = (epoch, samples)

    def __iter__(self) -> Iterator[SampleIndex]:
        if self.epoch is None:
            return  # BasicSR's prefetchers start a pass before the first epoch, and discard it
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.num_samples * self.world_size, generator=generator).tolist()
        first = self._skip[1] if self._skip is not None and self._skip[0] == self.epoch else 0
        for place in range(self.rank + first * self.world_size, len(order), self.world_size):
            yield SampleIndex(order[place] % self.size, derive_seed(self.seed, "sample", self.epoch, place))

    def __len__(self) -> int:
        # The length of a whole epoch: the number of batches does not depend on where a run was resumed.
        return self.num_samples


class SampleError(OptionError):
    """A sample could not be read or degraded; the message names its file."""


class SupervisedDataset(Dataset[Any]):
    """A training set that seeds each sample by its position, and whose errors name the file.

    Args:
        dataset: Any data set of BasicSR's.
        skip_bad_images: Number of samples that may fail before it is an error; a failed one is replaced by the next image.
    """

    def __init__(self, dataset: Any, skip_bad_images: int = 0) -> None:
        self.dataset = dataset
        self.opt = dataset.opt
        self.skip_bad_images = skip_bad_images
        # Shared by the workers.
        self._failed = torch.zeros((), dtype=torch.long).share_memory_()

    @property
    def skipped(self) -> int:
        """Number of samples replaced so far."""
        return int(self._failed)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed = index.seed if isinstance(index, SampleIndex) else derive_seed("sample", index)
        for step in range(len(self)):
            number = SampleIndex((int(index) + step) % len(self), seed)
            try:
                with seeded(seed):
                    return self.dataset[number]
            except Exception as error:
                message = f"sample {number} ({self._name(number)}) cannot be loaded: {type(error).__name__}: {error}"
                self._failed += 1
                if self.skipped > self.skip_bad_images:
                    advice = "Repair or remove it, or set datasets.train.skip_bad_images to continue without it."
                    if self.skip_bad_images:
                        advice = (
                            f"This is one more than datasets.train.skip_bad_images ({self.skip_bad_images}) allows."
                        )
                    raise SampleError(f"datasets.train: {message}. {advice}") from error
                print(f"Skipped ({self.skipped} of {self.skip_bad_images}): {message}", flush=True)
        raise SampleError("datasets.train: no image can be loaded.")

    def _name(self, number: int) -> str:
        images = getattr(self.dataset, "images", None)
        if images is not None:
            return str(images.name(number))
        paths = getattr(self.dataset, "paths", None) or getattr(self.dataset, "keys", None)
        if isinstance(paths, list) and number < len(paths):
            entry = paths[number]
            return str(entry.get("gt_path", entry) if isinstance(entry, dict) else entry)
        return str(self.opt.get("dataroot_gt", "?"))


@dataclass(frozen=True)
class _WorkerStart:
    """Initialise a worker: BasicSR's seeding, and signals are left to the training process."""

    seed: Callable[[int], Any] | None

    def __call__(self, worker: int) -> None:
        shield_worker()
        if self.seed is not None:
            self.seed(worker)


def create_loaders(opt: dict[str, Any], logger: Any, run: Run) -> tuple[Any, ...]:
    """Build the loaders of a training run, and compute its number of epochs.

    Returns:
        The training loader and its sampler, the validation loaders, the number of epochs, ``total_iter``.

    Raises:
        OptionError: There are fewer images than a batch needs.
    """
    sets = opt["datasets"]
    train_opt = sets["train"]
    ratio = train_opt.get("dataset_enlarge_ratio", 1)
    _drop_prefetching_that_cannot_work(train_opt, logger)
    set_opt = for_its_model(train_opt, opt.get("model_type"))
    dataset = SupervisedDataset(build_dataset(set_opt), int(train_opt.get("skip_bad_images", 0)))
    sampler = ResumableSampler(dataset, opt["world_size"], opt["rank"], ratio, opt["manual_seed"])
    loader = build_dataloader(
        dataset,
        train_opt,
        num_gpu=opt["num_gpu"],
        dist=opt["dist"],
        sampler=sampler,
        seed=opt["manual_seed"],
    )
    loader.worker_init_fn = _WorkerStart(loader.worker_init_fn)
    batches = len(loader)
    total_iter = int(opt["train"]["total_iter"])
    if batches == 0:
        raise OptionError(
            f"datasets.train: {len(dataset)} images times dataset_enlarge_ratio {ratio} are fewer than a batch on every "
            f"process (batch_size_per_gpu {train_opt['batch_size_per_gpu']}, {opt['world_size']} processes): "
            "raise dataset_enlarge_ratio or lower batch_size_per_gpu."
        )
    total_epochs = math.ceil(total_iter / batches)
    logger.info(
        f"Training data: {len(dataset)} images, enlarged {ratio} times, {batches} iterations per epoch, "
        f"{total_epochs} epochs, {total_iter} iterations."
    )
    val_loaders = []
    for phase, dataset_opt in sets.items():
        if phase.split("_")[0] == "val":
            val_set = build_dataset(dataset_opt)
            if len(val_set) == 0:
                raise OptionError(f"datasets.{phase}: {dataset_opt['name']} has no images.")
            val_loaders.append(build_dataloader(val_set, dataset_opt, num_gpu=opt["num_gpu"], dist=opt["dist"]))
            logger.info(f"Validation data {dataset_opt['name']}: {len(val_set)} images.")
        elif phase != "train":
            raise OptionError(f"datasets.{phase}: expected train, val or val_<name>.")
    run.start_data(loader, sampler, val_loaders, batches)
    return loader, sampler, val_loaders, total_epochs, total_iter


def _drop_prefetching_that_cannot_work(train_opt: dict[str, Any], logger: Any) -> None:
    """Disable BasicSR's prefetching where it would fail, or where it would load images in a thread of this process.

    Without workers that thread would draw from the same random generators as the training, at the same time.
    """
    mode = train_opt.get("prefetch_mode")
    if mode == "cpu" and train_opt.get("num_worker_per_gpu", 0) == 0:
        logger.warning("datasets.train.prefetch_mode: cpu has no effect without workers (num_worker_per_gpu: 0).")
        train_opt["prefetch_mode"] = None
    if mode == "cuda" and not torch.cuda.is_available():
        logger.warning("datasets.train.prefetch_mode: cuda has no effect without a GPU.")
        train_opt["prefetch_mode"] = None


def hand_errors_on(generator: type[PrefetchGenerator]) -> None:
    """Make an error in BasicSR's prefetching thread end the training, not just the thread."""

    def run(self: Any) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
        except BaseException as error:
            self.queue.put(error)
        else:
            self.queue.put(None)

    def next_item(self: Any) -> Any:
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        return item

    generator.run = run
    generator.__next__ = next_item


def keep_batches_in_use(prefetcher: type[CUDAPrefetcher]) -> None:
    """Keep the memory of a prefetched batch from being reused before the training stream has finished with it.

    The pinned memory that it is copied from needs no such care: torch frees it after the copy's event.
    """

    def next_batch(self: Any) -> Any:
        consumer = torch.cuda.current_stream()
        consumer.wait_stream(self.stream)
        batch = self.batch
        for value in (batch or {}).values():
            if torch.is_tensor(value) and value.is_cuda:
                value.record_stream(consumer)
        self.preload()
        return batch

    prefetcher.next = next_batch


def batch_names(batch: dict[str, Any]) -> list[str]:
    """The files of a batch, for messages."""
    for key in ("gt_path", "lq_path", "key"):
        if key in batch:
            return [printable(name) for name in batch[key]]
    return []
