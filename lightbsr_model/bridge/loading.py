"""Loading a network's weights: data only, and without changing names wrongly.

``models/base_model.py:283`` leaves ``weights_only`` to torch's default, and ``:290`` strips ``module.`` from every name,
even if a network has a submodule of that name.
"""

from __future__ import annotations

from typing import Any

from basicsr.utils import get_root_logger

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.momentum_contrast import complete_momentum_parts
from lightbsr_arch.weights.checkpoints import plain_weights, read_checkpoint
from lightbsr_arch.weights.identify import namesake_hint
from lightbsr_arch.weights.published import convert_published_state_dict, is_published_state_dict


def load_network(model: Any, net: Any, load_path: str, strict: bool = True, param_key: str | None = "params") -> None:
    """Replaces ``BaseModel.load_network``; also converts published checkpoints.

    Args:
        model: The model that loads.
        net: Its network, wrapped for several processes or not.
        load_path: The checkpoint.
        strict: Whether names and shapes must match the network; otherwise weights that do not match are ignored.
        param_key: Entry of the checkpoint; ``params`` if it has only that. None uses the file as it is.

    Raises:
        MissingFileError: There is no such file.
        OptionError: It is not a checkpoint, is truncated, or belongs to another network.
    """
    content = read_checkpoint(load_path)
    if param_key is not None:
        if param_key not in content and "params" in content:
            param_key = "params"
            get_root_logger().info(f"{load_path} has no averaged copy; its plain weights are used.")
        content = content.get(param_key, content)
    net = model.get_bare_model(net)
    own = net.state_dict()
    weights = {_unwrapped(name, own): value for name, value in plain_weights(load_path, content).items()}
    if is_published_state_dict(weights):
        weights = convert_published_state_dict(weights)
    completed = complete_momentum_parts(net, weights)
    if len(completed) > len(weights):
        get_root_logger().info(
            f"{load_path} has no key encoder or queue: the key encoder is copied from the query encoder, the queue is random."
        )
    weights = completed
    get_root_logger().info(f"Loading {type(net).__name__} from {load_path}, entry {param_key}.")
    model._print_different_keys_loading(net, weights, strict)
    try:
        net.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        raise OptionError(
            f"{load_path} does not fit {type(net).__name__} with these sizes: {error}{namesake_hint(weights)}"
        ) from error


def _unwrapped(name: str, own: dict[str, Any]) -> str:
    """A name without the prefix that wrapping for several devices adds, unless the network itself has it."""
    return name if name in own else name.removeprefix("module.")
