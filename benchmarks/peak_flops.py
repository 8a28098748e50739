"""The arithmetic that chips can do at most, and what share of it a model uses (model FLOPs utilisation, MFU).

MFU counts what the model needs, not what was computed: recomputation under gradient checkpointing does not raise it
(Chowdhery et al. 2022, "PaLM", appendix B).
"""

from __future__ import annotations

# Dense peaks in TFLOP/s with float32 accumulation, from the vendors' data sheets, by what the name of the chip holds.
# The more telling name comes first: an H100 PCIe is slower than an H100.
PEAK_TFLOPS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (("B200",), {"bf16": 2250.0, "fp32": 75.0}),
    (("GH200",), {"bf16": 989.4, "fp32": 66.9}),
    (("H200", "NVL"), {"bf16": 835.5, "fp32": 60.0}),
    (("H200",), {"bf16": 989.4, "fp32": 66.9}),
    (("H100", "PCIe"), {"bf16": 756.5, "fp32": 51.2}),
    (("H100", "NVL"), {"bf16": 835.5, "fp32": 60.0}),
    (("H100",), {"bf16": 989.4, "fp32": 66.9}),
    (("A100",), {"bf16": 311.9, "fp32": 19.5}),
    (("L40S",), {"bf16": 362.0, "fp32": 91.6}),
    (("L4",), {"bf16": 121.0, "fp32": 30.3}),
    (("A10G",), {"bf16": 70.0, "fp32": 31.5}),
    (("A10",), {"bf16": 125.0, "fp32": 31.2}),
    (("4090",), {"bf16": 165.2, "fp32": 82.6}),
    (("3090",), {"bf16": 71.2, "fp32": 35.6}),
)


def peak_flops_per_s(device_name: str, precision: str) -> float | None:
    """The peak of a chip, or None where it is not known: a share of a guessed peak would be no measurement.

    Args:
        device_name: Name as `torch.cuda.get_device_name` has it.
        precision: "bf16", or "fp32" without TF32.
    """
    words = device_name.replace("-", " ").split()
    for parts, peaks in PEAK_TFLOPS:
        if all(any(word == part for word in words) for part in parts):
            return peaks[precision] * 1e12
    return None


def utilisation(flops_per_clip: float, clips_per_s: float, peak: float | None) -> float | None:
    """Share of the peak that a model uses; None where the peak is not known."""
    return None if peak is None else flops_per_clip * clips_per_s / peak
