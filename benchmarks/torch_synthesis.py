"""The update of `synthesis_lenet5` in PyTorch, as a PyTorch user would write it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from benchmarks.machine import num_cores
from benchmarks.synthesis_lenet5 import (
    CHECKED_STEPS,
    LEARNING_RATE,
    NUM_STARTS,
    STEPS,
    TEMPERATURE,
    compare,
)

_BATCHES = (NUM_STARTS, 200)


def side(file: str, compiled: bool) -> dict[str, Any]:
    """Return rates for both batch sizes and layouts, and how far z differs from ours."""
    torch.set_num_threads(num_cores())
    torch.set_flush_denormal(True)  # As in TensorFlow; denormal gradients would slow PyTorch down.
    torch.manual_seed(0)
    arrays = dict(np.load(file))
    rates, compared = {}, {}
    for layout in ("contiguous", "channels_last"):
        model = _lenet5(arrays)
        if layout == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        for batch in _BATCHES:
            go = _loop(model, arrays, batch, layout, compiled)
            if not compared:
                after = go(CHECKED_STEPS).detach().permute(0, 2, 3, 1).numpy()
                compared = compare(after, arrays["after"][:batch])
            found = harness.rates(lambda go=go: go(STEPS), STEPS * batch, seconds=1.0)
            rates[f"batch {batch}, {layout}"] = found
    return {"rates": rates, **compared}


def _loop(
    model: torch.nn.Module, arrays: dict[str, Any], batch: int, layout: str, compiled: bool
) -> Callable[[int], torch.Tensor]:
    """Return a function that makes a number of steps from the start and returns z."""
    start = torch.tensor(arrays["start"][:batch]).permute(0, 3, 1, 2).contiguous()
    if layout == "channels_last":
        start = start.contiguous(memory_format=torch.channels_last)
    target = torch.tensor(arrays["target"][:batch])

    def loss(z: torch.Tensor) -> torch.Tensor:
        logits = model(torch.sigmoid(z)) / TEMPERATURE
        return torch.nn.functional.cross_entropy(logits, target, reduction="sum")

    look = torch.compile(loss, dynamic=False) if compiled else loss

    def go(steps: int) -> torch.Tensor:
        z = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([z], lr=LEARNING_RATE, fused=True)
        for step in range(1, steps + 1):
            # Our Adam, like that of Keras, adds epsilon before the bias correction, PyTorch after
            # it.
            optimizer.param_groups[0]["eps"] = 1e-8 / (1 - 0.999**step) ** 0.5
            optimizer.zero_grad()
            look(z).backward()
            optimizer.step()
        return z

    return go


def _lenet5(arrays: dict[str, Any]) -> torch.nn.Module:
    """Create a frozen LeNet-5 with the weights of the Keras model."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    layers = [layer for layer in model if hasattr(layer, "weight")]
    names = ("conv1", "conv2", "dense1", "dense2", "logits")
    for layer, name in zip(layers, names, strict=True):
        kernel = arrays[f"{name}/kernel"]
        if name.startswith("conv"):
            kernel = kernel.transpose(3, 2, 0, 1)
        elif name == "dense1":  # Keras flattens (5, 5, 16), PyTorch (16, 5, 5).
            kernel = kernel.reshape(5, 5, 16, -1).transpose(2, 0, 1, 3).reshape(400, -1).T
        else:
            kernel = kernel.T
        layer.weight.data = torch.tensor(np.ascontiguousarray(kernel))
        layer.bias.data = torch.tensor(arrays[f"{name}/bias"])
    return model.requires_grad_(False)
