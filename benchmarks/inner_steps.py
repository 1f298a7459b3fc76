"""The inner steps of MRDA's meta-learning network, against two plain formulations.

Plain is a graph that is kept over the steps, as implementations of second-order meta-learning build it, though nothing reads
its second derivatives; or a deep copy of the network for each adaptation, with an optimiser of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from benchmarks.machine import synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr_arch.inference.traits import LiveValues
from lightbsr_arch.layers.meta_learner import RATES
from lightbsr_arch.methods.mrda import MetaLearningNetwork

Gradients = dict[str, Tensor]


def _graph_kept(net: Any, lq: Tensor, gt: Tensor, base: Tensor, rates: Sequence[float]) -> Gradients:
    weights = {name: value.detach().requires_grad_() for name, value in net.named_parameters()}
    for rate in rates:
        loss = F.l1_loss(functional_call(net, weights, (lq, base)), gt)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: value - rate * each for (name, value), each in zip(weights.items(), gradients, strict=True)}
    return weights


def _deep_copy(net: Any, lq: Tensor, gt: Tensor, base: Tensor, rates: Sequence[float]) -> Gradients:
    adapted = copy.deepcopy(net)
    for rate in rates:
        optimiser = torch.optim.SGD(adapted.parameters(), rate)
        optimiser.zero_grad()
        F.l1_loss(adapted(lq, base), gt).backward()
        optimiser.step()
    return dict(adapted.named_parameters())


def _ours(net: Any, lq: Tensor, gt: Tensor, base: Tensor, rates: Sequence[float]) -> Gradients:
    weights: Gradients = net.adapt(lq, gt, rates, base).weights
    return weights


def _plain_meta_step(adapt: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """The mean gradient of several tasks, all of which are held until the last has judged."""

    def step(net: Any, lqs: Tensor, gt: Tensor, bases: Tensor, rates: Sequence[float]) -> Gradients:
        half = len(gt) // 2
        tasks = [
            (adapt(net, lq[:half], gt[:half], base[:half], rates), lq, base)
            for lq, base in zip(lqs, bases, strict=True)
        ]
        means = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
        for weights, lq, base in tasks:
            loss = F.l1_loss(functional_call(net, weights, (lq[half:], base[half:])), gt[half:])
            for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                means[name] += gradient / len(tasks)
        return means

    return step


def _our_meta_step(net: Any, lqs: Tensor, gt: Tensor, bases: Tensor, rates: Sequence[float]) -> Gradients:
    net.zero_grad(set_to_none=True)
    net.adapt_and_judge(lqs, gt, rates, upsampled=bases).backward()
    return {name: value.grad for name, value in net.named_parameters()}


def measure(device: torch.device, turns: int, count: int, patch: int, num_feat: int = 128, tasks: int = 2) -> Section:
    """An adaptation and a meta step, at the published number of steps.

    Args:
        device: Where.
        turns: How often.
        count: Samples in a batch.
        patch: Side of an LR patch.
        num_feat: Width of the network.
        tasks: Of a meta step.

    Raises:
        RuntimeError: The ways give different results.
    """
    torch.manual_seed(0)
    net = MetaLearningNetwork(4, num_feat).to(device)
    gt = torch.rand(count, 3, 4 * patch, 4 * patch, device=device)
    lqs = torch.rand(tasks, count, 3, patch, patch, device=device)
    bases = torch.stack([net.enlarge(lq) for lq in lqs])
    section = Section(
        "Inner steps of MRDA",
        f"{len(RATES)} steps of the meta-learning network ({num_feat} features) on {count} LR patches of {patch}x{patch}; the "
        f"meta step has {tasks} tasks; one half of the batch adapts, the other judges. `plain / this`: against the graph "
        "that is kept. `held`: most memory that results of forward passes hold at a time.",
        ("what", "way", "ms", "spread", "plain / this", "held, MB"),
    )
    single = (lqs[0], gt, bases[0], RATES)
    whole = (lqs, gt, bases, RATES)
    for what, given, ways in (
        ("adaptation", single, {"graph kept": _graph_kept, "deep copy": _deep_copy, "ours": _ours}),
        (
            "meta step",
            whole,
            {
                "graph kept": _plain_meta_step(_graph_kept),
                "deep copy": _plain_meta_step(_deep_copy),
                "ours": _our_meta_step,
            },
        ),
    ):
        results, held = {}, {}
        for name, way in ways.items():
            with LiveValues() as live:
                results[name] = {key: value.detach().clone() for key, value in way(net, *given).items()}
            held[name] = 4 * live.most / 1e6
        for name, result in results.items():
            for key, value in result.items():
                expected = results["graph kept"][key]
                if (value - expected).abs().max() > 1e-4 * expected.abs().max():
                    raise RuntimeError(f"{what}: {name} gives another {key} than a graph that is kept.")
        calls = {name: _call(way, net, given) for name, way in ways.items()}
        times = in_turns(calls, turns, wait=synchronise(device))
        for name, timing in times.items():
            faster = ratio(times["graph kept"], timing)
            section.rows.append([what, name, timing.median * 1e3, timing.spread, faster, held[name]])
    return section


def _call(way: Callable[..., Gradients], net: Any, given: tuple[Any, ...]) -> Callable[[], object]:
    return lambda: way(net, *given)
