"""PyTorch's side of the comparisons; runs in child processes only (`worker`)."""

# pyright: reportMissingImports=false

import time

import torch

from invseg_jax.benchmarks import resident, torch_networks
from invseg_jax.benchmarks.worker import Answers
from invseg_jax.files.json_values import JsonObject


def _device(threads: int) -> torch.device:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def convolution(settings: JsonObject) -> Answers:
    """A 3x3x3 convolution; "step" gives the seconds of it with both its gradients.

    Args:
        settings: size, channels, batch and threads.
    """
    device = _device(settings["threads"])
    size, channels = settings["size"], settings["channels"]
    conv = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False).to(device)
    shape = (settings["batch"], channels, size, size, size)
    x = torch.randn(shape, device=device, requires_grad=True)
    dy = torch.randn(shape, device=device)

    def step() -> float:
        x.grad = conv.weight.grad = None
        return _seconds(lambda: conv(x).backward(dy), device)

    return {"step": step}


def network(settings: JsonObject) -> Answers:
    """A network's gradient.

    The answers: "baseline", to be asked first, runs a small network of the same kind and gives the
    bytes of main memory that the process then has (0 on accelerators); "build"; "parameters";
    "step", seconds of one gradient; "peak", bytes.

    Args:
        settings: library and the arguments of `torch_networks.build`; shape (n, d, h, w) and
            modalities of the input; threads.
    """
    device = _device(settings["threads"])
    held: dict[str, torch.nn.Module] = {}

    def gradient(model: torch.nn.Module, shape: tuple[int, ...]) -> float:
        n, *space = shape
        x = torch.randn(n, settings["modalities"], *space, device=device)
        model.zero_grad(set_to_none=True)
        return _seconds(lambda: model(x).square().mean().backward(), device)

    def warm_up() -> None:
        channels = settings["channels"]
        small = torch_networks.build({**settings, "couplings": 2}).to(device)
        gradient(small, (1, *(2 ** (len(channels) - 1) * 2 for _ in range(3))))

    def baseline() -> int:
        warm_up()
        return 0 if device.type == "cuda" else resident.now()

    def build() -> None:
        held["model"] = torch_networks.build(settings).to(device)

    def parameters() -> int:
        return sum(weight.numel() for weight in held["model"].parameters())

    return {
        "baseline": baseline,
        "build": build,
        "parameters": parameters,
        "step": lambda: gradient(held["model"], tuple(settings["shape"])),
        "peak": lambda: _peak(device),
    }


def _seconds(call, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _peak(device: torch.device) -> int:
    """Bytes: of the accelerator's allocator, or of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resident.process_peak()
