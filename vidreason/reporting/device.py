"""What a figure was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def describe_device(device: torch.device) -> str:
    """The device in words, for reports.

    Args:
        device: The device that something was computed on.
    """
    import torch  # not at the top: tables and plots are drawn without it

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
