"""The sections of an option file that BasicSR's pipeline and ours read, whatever is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lightbsr_model.data.set_options import IoBackend
from lightbsr_model.runtime.declared_keys import Iterations, key

_MOST_SEEDS = 2**32 - 2**16
"""NumPy takes seeds below 2^32, and a rank is added."""


@dataclass(frozen=True)
class Top:
    """Keys at the top of a file."""

    name: str = key(
        "Name of the run, and of its folder in experiments/ or results/; with `debug` in it, everything is short."
    )
    model_type: str = key("The model: what trains and tests network_g.", kind="model")
    scale: int = key("Factor between LQ and GT images.", None, low=1, high=16)
    num_gpu: int | Literal["auto"] = key("Number of GPUs; auto takes what there is, 0 is the CPU.", low=0, high=65536)
    manual_seed: int | None = key(
        "Seed of weights, order, crops, degradations and noise; ~ draws one.", None, low=0, high=_MOST_SEEDS
    )
    deterministic: bool = key("Make runs on CUDA repeatable too, at the cost of slower kernels.", False)
    find_unused_parameters: bool = key("Passed to DistributedDataParallel.", False)
    datasets: dict[str, Any] = key("The data sets: train, val, val_<name>, test, test_<name>.")
    network_: dict[str, Any] = key("A network: network_g restores images.", {}, kind="arch", prefix=True)
    path: dict[str, Any] | None = key("Weights and states to start from.", {})
    dist_params: dict[str, Any] | None = key("How several processes find each other.", {})


@dataclass(frozen=True)
class TrainingTop(Top):
    """Keys at the top of a file that trains."""

    train: dict[str, Any] = key("How the networks learn.")
    logger: dict[str, Any] = key("Log and checkpoints.")
    val: dict[str, Any] | None = key("Validation during training; ~ is none.", None)


@dataclass(frozen=True)
class TestTop(Top):
    """Keys at the top of a file that tests."""

    val: dict[str, Any] = key("What is measured and saved.")


@dataclass(frozen=True)
class Loader:
    """Keys of any data set, which its loader reads."""

    name: str = key("Name of the data set in logs and folders.")
    type: str = key("The data set's class.", kind="data set")
    phase: str = key("Set by the pipeline: train, val or test.", None)
    scale: int = key("Set by the pipeline: the file's scale.", None, low=1, high=16)
    io_backend: IoBackend = key("How the images are stored.", {"type": "disk"})
    batch_size_per_gpu: int = key("Samples per batch and process.", 1, low=1, high=1_000_000)
    num_worker_per_gpu: int = key("Processes that load data, per training process.", 0, low=0, high=4096)
    dataset_enlarge_ratio: float = key("Number of times that an epoch goes through the images.", 1, low=1e-9, high=1e9)
    prefetch_mode: Literal["cpu", "cuda"] | None = key(
        "cuda overlaps copying with computing, and needs pin_memory; ~ is neither.", None
    )
    num_prefetch_queue: int = key("Batches that prefetch_mode cpu holds.", 1, low=1, high=4096)
    pin_memory: bool = key("Load into memory that is copied to the GPU faster.", False)
    persistent_workers: bool = key("Keep the loading processes between epochs.", False)
    skip_bad_images: int = key(
        "At most this number of unreadable images is replaced by the next one; one more is an error.", 0, low=0
    )


@dataclass(frozen=True)
class TrainingLoader(Loader):
    """Keys of the training set, whatever its class."""

    batch_size_per_gpu: int = key("Samples per batch and process.", low=1, high=1_000_000)
    num_worker_per_gpu: int = key("Processes that load data, per training process.", low=0, high=4096)


@dataclass(frozen=True)
class BasicSRSet:
    """What several of BasicSR's data sets read by the same names, each those that its code asks for."""

    dataroot_gt: str | None = key("Folder or LMDB of the GT images.", None)
    dataroot_lq: str | None = key("Folder or LMDB of the LQ images.", None)
    meta_info_file: str | None = key("Text file that lists the images.", None)
    meta_info: str | None = key("Text file that lists the images.", None)
    filename_tmpl: str | None = key("Name of an LQ image without extension; {} is its GT image's name.", "{}")
    gt_size: int | None = key("Side of a GT patch in pixels.", None, low=1, high=8192)
    use_hflip: bool = key("Flip patches horizontally at random.", True)
    use_rot: bool = key("Rotate patches by multiples of 90 degrees at random.", True)


@dataclass(frozen=True)
class Path:
    """Keys of ``path``. Of network_g they end in g, of network_d in d."""

    pretrain_network_: str | None = key("A checkpoint to start from; ~ starts from random weights.", None, prefix=True)
    param_key_: str | None = key("Entry of that checkpoint, such as params or params_ema.", "params", prefix=True)
    strict_load_: bool = key("Refuse a checkpoint whose weights are not exactly the network's.", True, prefix=True)
    resume_state: str | None = key("A .state file to resume from; --auto_resume finds the newest.", None)
    ignore_resume_networks: list[str] | str | None = key(
        "Networks that a resumed run loads from pretrain_network_*.", None
    )
    experiments_root: str | None = key("Set by the pipeline.", None)
    models: str | None = key("Set by the pipeline.", None)
    training_states: str | None = key("Set by the pipeline.", None)
    log: str | None = key("Set by the pipeline.", None)
    visualization: str | None = key("Set by the pipeline.", None)
    results_root: str | None = key("Set by the pipeline.", None)


@dataclass(frozen=True)
class Val:
    """Keys of ``val``, for any model."""

    save_img: bool = key("Save the restored images.")
    val_freq: Iterations = key("Iterations between two validations.", None, low=1)
    adaptation: dict[str, Any] | None = key(
        "Adapts the network to each image before it is restored: a method's adaptation by its type, and its arguments.",
        None,
    )


@dataclass(frozen=True)
class TrainingVal(Val):
    """Keys of ``val`` in a file that trains."""

    val_freq: Iterations = key("Iterations between two validations.", low=1)
    at_start: bool = key("Validate before the first iteration too, as iteration 0.", False)


@dataclass(frozen=True)
class SRVal:
    """Keys of ``val`` that BasicSR's SRModel reads, and most models with it."""

    metrics: dict[str, Any] | None = key("The metrics, each a section under a name of your choice; ~ is none.", None)
    pbar: bool = key("Show a progress bar.", False)
    suffix: str | None = key("Ends the names of saved images.", None)


@dataclass(frozen=True)
class Wandb:
    """Keys of ``logger: {wandb: ...}``."""

    project: str | None = key("Project of Weights & Biases; ~ does not use it.", None)
    resume_id: str | None = key("Run to resume there.", None)


@dataclass(frozen=True)
class Logger:
    """Keys of ``logger``."""

    print_freq: Iterations = key("Iterations between two lines of the log.", low=1)
    save_checkpoint_freq: Iterations = key("Iterations between two checkpoints.", low=1)
    use_tb_logger: bool = key("Write TensorBoard's files.", False)
    wandb: Wandb | None = key("Weights & Biases.", None)


@dataclass(frozen=True)
class DistParams:
    """Keys of ``dist_params``."""

    backend: Literal["nccl", "gloo"] = key("What the processes talk through; without CUDA it is gloo.", "nccl")
    port: int | None = key("Port of the first process, for slurm.", None, low=1, high=65535)
    timeout_minutes: float = key("How long a process waits for the others.", 180, above=0, high=1_000_000)
