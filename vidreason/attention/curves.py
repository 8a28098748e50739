"""Whether a model's attention names what it decides by: deletion and insertion of the tokens that it attends to.

Tokens of every frame are ranked, and the first k of them are deleted, for k from none to all; or only the first k are
there. Where a ranking is right, the probability of the label falls early under deletion and rises early under
insertion. This is pixel flipping in the order of most relevant first (Samek et al. 2017, "Evaluating the Visualization
of What a Deep Neural Network Has Learned", whose summary is the AOPC), read as the area under the curve as in RISE
(Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models").

What is deleted is a token's pixels. TSViT's patches are the cells of its grid, so there a token goes exactly; in a
model whose patches overlap or reach over borders (a convolutional stem), and in one that was given a resampled grid,
the pixels of a cell are what goes. A frame with holes is like no frame of the training (Hooker et al. 2019, "A
Benchmark for Interpretability Methods in Deep Neural Networks"), which is why every ranking is judged against a random
one in the same model, and never one model's area against another's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torchvision.transforms.v2.functional import gaussian_blur

from ..clips.data import IGNORED_LABEL
from ..errors import ConfigError
from .normalize import normalize_attention

ATTENTION, SHUFFLED, RANDOM, GUIDANCE, GRADIENT = "attention", "shuffled", "random", "guidance", "gradient"
RANKINGS = (ATTENTION, SHUFFLED, RANDOM, GUIDANCE, GRADIENT)
"""What tokens are ranked by. "shuffled" is the model's own attention with its cells exchanged, the same exchange for
all frames of a clip: what it deletes stays in place over time as attention does, where "random" leaves every cell to
be seen in some frame. "gradient" is input gradient times input, summed over a cell."""

MODES = ("deletion", "insertion")
BASELINES = ("mean", "blur")
MEASURES = ("true_label", "predicted_label", "top1")
"""The probability of the true label, of the label that the model gave to the whole clip, and whether it is right."""


class AttendingModel(Protocol):
    """What is asked of a model: a video classifier of torch that says where it looks."""

    training: bool

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of a frame of this size in pixels."""

    def train(self, mode: bool = True) -> Any:
        """Training or evaluation mode."""

    def eval(self) -> Any:
        """Evaluation mode."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One pass over `pixel_values` (batch, frames, channels, height, width).

        Gives `logits` (batch, labels) and `frame_attention` (batch, frames, tokens).
        """


@dataclass(frozen=True)
class FaithfulnessSettings:
    """How rankings are tried.

    Args:
        rankings: Some of `RANKINGS`.
        num_steps: Largest number of steps from nothing to everything; a grid of more tokens is stepped through in
            larger parts.
        num_draws: Number of random orders, and of exchanges of cells, that each clip is tried with.
        baseline: What takes the place of deleted pixels: "mean" (0 after normalisation) or "blur" (the frame,
            blurred).
        seed: Seed of all random orders. A clip's orders depend on it and on the clip's number alone.

    Raises:
        ConfigError: A setting that does not exist or makes no sense.
    """

    rankings: tuple[str, ...] = RANKINGS
    # each step between the two ends is one pass per ranking, mode and order: num_steps - 1 passes
    num_steps: int = 16
    num_draws: int = 3
    # a constant also deletes low frequencies, which a blurred frame keeps: results depend on this choice
    baseline: str = "mean"
    seed: int = 0

    def __post_init__(self):
        unknown = sorted(set(self.rankings) - set(RANKINGS))
        if unknown or not self.rankings or len(set(self.rankings)) < len(self.rankings):
            raise ConfigError(f"rankings are {self.rankings}, expected different ones of {RANKINGS}")
        if self.baseline not in BASELINES:
            raise ConfigError(f"baseline is {self.baseline!r}, expected one of {BASELINES}")
        for name, least in (("num_steps", 1), ("num_draws", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")


@dataclass(frozen=True)
class FaithfulnessCurves:
    """What was measured of the clips of a split.

    Args:
        fractions: Array of shape (steps,), the shares of the tokens that are deleted or shown, from 0 to 1.
        clip_numbers: Numbers of the clips in their split; those that could not be read are missing.
        values: (ranking, mode, measure) -> array of shape (clips, steps), NaN for clips that the ranking says nothing
            about.
        skipped: Numbers of the clips that could not be read.
    """

    fractions: np.ndarray
    clip_numbers: list[int]
    values: dict[tuple[str, str, str], np.ndarray]
    skipped: list[int]


def measure_faithfulness(
    model: AttendingModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    settings: FaithfulnessSettings,
    device: torch.device | str = "cpu",
) -> FaithfulnessCurves:
    """Delete and insert tokens of every clip in the order of each ranking.

    No more than one batch is held at a time, and no more clips than it holds go through the model at once.

    Args:
        model: A supervised model; it is put into evaluation mode and left in the mode it was in.
        batches: Batches of `GuidedClipCollator`, in the order of the split: `pixel_values` (clips, frames, channels,
            height, width), `frame_mask` (clips, frames), `guidance` (clips, frames, tokens), `guidance_mask` (clips,
            frames) and `labels` (clips,).
        settings: Which rankings are tried, and how.
        device: The device of the model.

    Raises:
        ConfigError: The model gives no `frame_attention`, or guidance is over another number of tokens.
    """
    was_training = model.training
    # dropout would move the curves from step to step
    model.eval()
    fractions: np.ndarray | None = None
    parts: list[dict[tuple[str, str, str], np.ndarray]] = []
    numbers: list[int] = []
    skipped: list[int] = []
    first = 0  # number of the batch's first clip in the split
    for batch in batches:
        # a clip that could not be read has no label and zeros for pixels, as its baseline: curves that say nothing
        readable = batch["labels"] != IGNORED_LABEL
        skipped += [first + int(place) for place in torch.nonzero(~readable)]
        readable_numbers = [first + int(place) for place in torch.nonzero(readable)]
        first += len(readable)
        if readable_numbers:
            clips = {name: value[readable].to(device) for name, value in batch.items()}
            trial = _Trial(model, clips, readable_numbers, settings)
            parts.append(trial.run())
            numbers += readable_numbers
            # alike for every batch: all clips of a split have the model's input size
            fractions = np.asarray(trial.counts) / trial.num_tokens
    model.train(was_training)
    if fractions is None:
        raise ConfigError(f"none of the {first} clips could be read: nothing to measure")
    values = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return FaithfulnessCurves(fractions, numbers, values, skipped)


class _Trial:
    """The clips of one batch, through all rankings and steps."""

    def __init__(
        self,
        model: AttendingModel,
        clips: Mapping[str, torch.Tensor],
        numbers: list[int],
        settings: FaithfulnessSettings,
    ):
        self.model, self.clips, self.numbers, self.settings = model, clips, numbers, settings
        pixel_values = clips["pixel_values"]
        self.size_px = (pixel_values.shape[-2], pixel_values.shape[-1])
        self.token_grid = model.token_grid(*self.size_px)
        self.num_tokens = self.token_grid[0] * self.token_grid[1]
        self.counts = step_counts(self.num_tokens, settings.num_steps)
        # pixels are normalised: 0 is the mean colour
        self.baseline = torch.zeros_like(pixel_values) if settings.baseline == "mean" else blurred(pixel_values)
        outputs = self._forward(pixel_values)
        if outputs.get("frame_attention") is None:
            raise ConfigError("the model gives no 'frame_attention': there is no map whose honesty could be measured")
        self.attention = normalize_attention(outputs["frame_attention"])
        if self.attention.shape[-1] != self.num_tokens:
            raise ConfigError(
                f"the model attends over {self.attention.shape[-1]} tokens but its token grid is {self.token_grid}"
            )
        # of the intact clip, and held fixed at every step: a clip with holes may get another label
        self.predicted = outputs["logits"].argmax(dim=-1)
        self.intact = self._measures(outputs["logits"])
        # measured once: both ends are shared by all rankings, modes and draws
        self.empty = self._measures(self._forward(self.baseline)["logits"])

    def run(self) -> dict[tuple[str, str, str], np.ndarray]:
        """(ranking, mode, measure) -> (clips, steps)."""
        values = {}
        for ranking in self.settings.rankings:
            for mode in MODES:
                draws = [self._curve(order, mode) for order in self._orders(ranking)]
                # averaged before any resampling: draws of one clip are no independent observations
                mean = torch.stack(draws).mean(dim=0)  # (clips, measures, steps)
                if ranking == GUIDANCE:
                    # without any guided frame the ranking is ties alone, which would be random under another name
                    mean[~self.clips["guidance_mask"].any(dim=1)] = torch.nan
                for place, measure in enumerate(MEASURES):
                    values[ranking, mode, measure] = mean[:, place].cpu().numpy()
        return values

    def _orders(self, ranking: str) -> Iterator[torch.Tensor]:
        """The places that a ranking gives to the tokens, (clips, frames, tokens); several where it is random."""
        num_draws = self.settings.num_draws if ranking in (RANDOM, SHUFFLED) else 1
        for draw in range(num_draws):
            # separate numbers for every frame: one order for all would keep the same cells hidden over time
            tie_breaks = self._random((ranking, draw, "ties"), self.attention.shape[1])
            yield token_places(self._scores(ranking, draw), tie_breaks)

    def _scores(self, ranking: str, draw: int) -> torch.Tensor:
        """(clips, frames, tokens), higher for what is to go first."""
        if ranking == ATTENTION:
            return self.attention
        if ranking == SHUFFLED:
            exchange = self._random((ranking, draw, "cells"), 1).argsort(dim=-1)
            return self.attention.gather(-1, exchange.expand_as(self.attention))
        if ranking == GUIDANCE:
            guidance = self.clips["guidance"]
            if guidance.shape[-1] != self.num_tokens:
                raise ConfigError(
                    f"guidance is over {guidance.shape[-1]} tokens, the model's token grid is {self.token_grid}"
                )
            # frames without guidance become all ties, and are ranked at random
            return guidance * self.clips["guidance_mask"].unsqueeze(-1)
        if ranking == GRADIENT:
            return self._gradient_times_input()
        return torch.zeros_like(self.attention)  # nothing but ties, which are broken at random

    def _random(self, name: tuple[str, int, str], num_frames: int) -> torch.Tensor:
        """Numbers in [0, 1), (clips, num_frames, tokens), each clip from a stream of its own: any batch size alike."""
        # indices and not `hash`, which differs between processes for text; reordering RANKINGS changes all draws
        words = [RANKINGS.index(name[0]), name[1], ("ties", "cells").index(name[2])]
        streams = [np.random.default_rng([self.settings.seed, number, *words]) for number in self.numbers]
        drawn = np.stack([stream.random((num_frames, self.num_tokens)) for stream in streams])
        # stays float64: equal draws, which would leave a tie in place, are then practically impossible
        return torch.from_numpy(drawn).to(self.attention.device)

    def _curve(self, places: torch.Tensor, mode: str) -> torch.Tensor:
        """places: (clips, frames, tokens) -> (clips, measures, steps)."""
        steps = []
        for count in self.counts:
            # nothing and everything are the same for every order, so that no pass is spent on them
            if count in (0, self.num_tokens):
                steps.append(self.intact if (count == 0) == (mode == "deletion") else self.empty)
                continue
            # the same number of tokens in every frame: a ranking cannot gain by its choice of frames
            chosen = places < count
            shown = ~chosen if mode == "deletion" else chosen
            steps.append(self._measures(self._forward(self._show(shown))["logits"]))
        return torch.stack(steps, dim=-1)

    def _show(self, shown: torch.Tensor) -> torch.Tensor:
        """shown: (clips, frames, tokens) bool -> pixel values with the baseline where tokens are not shown."""
        pixel_values = self.clips["pixel_values"]
        cells = pixel_cells(self.token_grid, self.size_px).to(shown.device)
        # (clips, frames, 1, height, width): one decision for all channels
        return torch.where(shown[:, :, cells].unsqueeze(2), pixel_values, self.baseline)

    @torch.no_grad()
    def _forward(self, pixel_values: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return self.model(pixel_values=pixel_values, frame_mask=self.clips["frame_mask"])

    def _measures(self, logits: torch.Tensor) -> torch.Tensor:
        """logits: (clips, labels) -> (clips, measures), in the order of `MEASURES`."""
        # in float32: probabilities in half precision are too coarse for differences of curves
        probabilities = logits.float().softmax(dim=-1)
        labels = self.clips["labels"]
        of_true, of_predicted = (
            probabilities.gather(1, which.unsqueeze(1)).squeeze(1) for which in (labels, self.predicted)
        )
        return torch.stack((of_true, of_predicted, (logits.argmax(dim=-1) == labels).float()), dim=1)

    def _gradient_times_input(self) -> torch.Tensor:
        """Gradient of the given label's log-probability times the distance to the baseline: (clips, frames, tokens).

        To first order this is how much the log-probability falls when a cell is deleted (gradient x input; Shrikumar
        et al. 2016, "Not Just a Black Box").
        """
        pixel_values = self.clips["pixel_values"].detach().clone().requires_grad_(True)
        with torch.enable_grad():
            logits = self.model(pixel_values=pixel_values, frame_mask=self.clips["frame_mask"])["logits"]
            # the logarithm, since the gradient of a probability vanishes where the model is sure; and the sum, since
            # in evaluation mode no clip depends on another
            chosen = logits.float().log_softmax(dim=-1).gather(1, self.predicted.unsqueeze(1)).sum()
        # not backward(), which would leave gradients in the model's weights
        (gradient,) = torch.autograd.grad(chosen, pixel_values)
        effect = (gradient * (pixel_values.detach() - self.baseline)).sum(dim=2).float()
        cells = pixel_cells(self.token_grid, self.size_px).to(effect.device).flatten()
        # a sum over the cell and no mean: cells may differ by a row or column of pixels, and are deleted whole
        return torch.zeros_like(self.attention).index_add_(-1, cells, effect.flatten(-2))


def step_counts(num_tokens: int, num_steps: int) -> list[int]:
    """How many tokens are chosen at each step: from 0 to all, as evenly as whole tokens allow."""
    # more steps than tokens would repeat a count, and a pass
    num_steps = min(num_tokens, num_steps)
    return [round(step * num_tokens / num_steps) for step in range(num_steps + 1)]


def token_places(scores: torch.Tensor, tie_breaks: torch.Tensor) -> torch.Tensor:
    """The place of each token in the order of falling scores: 0 goes first.

    Ties are broken by the tie breaks. A sort that kept them in the order of the cells would delete frames from the
    top, and guidance, which marks some cells and leaves the others at zero, is mostly ties.

    Args:
        scores: Tensor of shape (..., tokens).
        tie_breaks: Tensor of the same shape; among equal scores the smaller goes first.

    Returns:
        Tensor of the same shape, int64, a permutation of 0 to tokens - 1 in every row.
    """
    # a stable sort of what was put in the order of the tie breaks keeps that order among equals
    mixed = tie_breaks.argsort(dim=-1, stable=True)
    order = mixed.gather(-1, scores.gather(-1, mixed).argsort(dim=-1, descending=True, stable=True))
    # the inverse permutation: from the tokens in order to the place of each token
    return order.argsort(dim=-1)


def pixel_cells(token_grid: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Which token's cell each pixel of a frame lies in: (height, width) int64.

    Args:
        token_grid: Rows and columns of the tokens.
        size: Height and width in pixels; where the grid does not divide them, a pixel goes with the cell that holds
            its centre.
    """
    # cell of a pixel's centre, floor((pixel + 1/2) cells / side), in whole numbers: exact at the borders
    row, column = (
        (2 * torch.arange(side) + 1) * cells // (2 * side) for side, cells in zip(size, token_grid, strict=True)
    )
    return row[:, None] * token_grid[1] + column


def blurred(pixel_values: torch.Tensor) -> torch.Tensor:
    """Frames without detail, as RISE begins its insertion from: a Gaussian of an eighth of the shorter side.

    pixel_values: (clips, frames, channels, height, width) -> the same shape.
    """
    side = min(pixel_values.shape[-2], pixel_values.shape[-1])
    kernel_size = 2 * (side // 4) + 1  # odd, and two standard deviations to each side
    return gaussian_blur(pixel_values, kernel_size=[kernel_size, kernel_size], sigma=[side / 8, side / 8])
