"""The task of temporal action segmentation: a label for every frame of long videos."""

from __future__ import annotations

from dataclasses import replace

from transformers import TrainerCallback

from ...clips.data import ClipSettings
from ...clips.packed_store import PackedGuidance
from ...clips.transforms import ClipTransform
from ...errors import ConfigError
from ...guidance import GuidanceIndex
from ...manifests.manifest import Manifest
from ...manifests.segments import load_segments
from ...segmentation.frame_labels import FrameLabels, class_weights
from ...segmentation.windows import VideoWindows
from ...training.clip_data import Guidance, open_videos
from ...training.task import Prepared
from ..data import GuidedData, build_guided_data
from ..evidence import draw_view
from ..tasks import RSTask
from .evaluation import CLIP_LOSS, SEGMENT_METRICS
from .trainer import SegmentationTrainer


class SegmentationTask(RSTask):
    """Windows of long videos, with a label for each frame from the table of segments in the manifest's folder."""

    def prepare(self) -> Prepared[GuidedData]:
        """Open videos and segments, and build the model, its processor and the windows of every split."""
        videos = open_videos(self.data_args)
        if not isinstance(videos, Manifest):
            raise ConfigError("packed_clips holds clips with one label each: segmentation takes a manifest of videos")
        labels = self._frame_labels(videos)
        model = self.build_model(labels.label_names)
        # saved with the model, so that labelling samples and averages as evaluation does
        model.config.frames_per_second = self.data_args.fps
        model.config.score_averaging_s = self.args.score_averaging_s or None
        processor = self.build_processor(model)
        window = model.config.num_frames
        settings = ClipSettings(
            window, decode_max_side_px=self.data_args.decode_max_side_px, cache=self.data_args.cache_videos
        )
        stride = max(1, round(self.data_args.window_stride * window))

        def training_windows(transform: ClipTransform, guidance: Guidance | None) -> VideoWindows:
            return VideoWindows(
                labels,
                self.data_args.train_split,
                transform,
                settings,
                stride,
                _joined(guidance),
                is_training=True,
                mirrored_labels=self.data_args.label_mirrors,
                seed=self.args.seed,
                extras=draw_view,
                video_cache=self.video_cache,
            )

        def evaluation_windows(split: str, transform: ClipTransform, guidance: Guidance | None) -> VideoWindows:
            table = _joined(guidance)
            return VideoWindows(labels, split, transform, settings, stride, table, video_cache=self.video_cache)

        data = build_guided_data(
            self.data_args,
            self.args,
            videos,
            labels.label_names,
            model,
            processor,
            training_windows,
            evaluation_windows,
            size_of=lambda windows: len(windows.videos),
        )
        assert isinstance(data.train, VideoWindows)  # as `training_windows` makes them
        weights = class_weights(data.train.videos, len(labels.label_names), self.args.class_weighting)
        return Prepared(model, processor, replace(data, class_weights=weights))

    def _frame_labels(self, manifest: Manifest) -> FrameLabels:
        """The labels of the sampled frames.

        Raises:
            ManifestError: The manifest's folder has no table of segments.
            ConfigError: A setting does not fit it.
        """
        return FrameLabels(
            manifest,
            load_segments(self.data_args.manifest),
            self.data_args.fps,
            self.data_args.unlabelled_as,
            self.data_args.background_labels,
        )

    def make_trainer(self, prepared: Prepared[GuidedData], callbacks: list[TrainerCallback]) -> SegmentationTrainer:
        """The trainer of frame labels, with the class weights of the training split."""
        return SegmentationTrainer(
            model=prepared.model,
            args=self.args,
            train_dataset=prepared.data.train,
            eval_dataset=prepared.data.validation,
            processing_class=prepared.processor,
            callbacks=callbacks,
            class_weights=prepared.data.class_weights,
        )

    def reported(self) -> dict[str, str]:
        """The names of reports, where the loss is that of true segments as clips.

        Where scores are averaged over neighbouring frames, the scores of segments without that stand behind.
        """
        segments = SEGMENT_METRICS[:-1]  # all but the over-segmentation, which stands behind the accuracies
        names = {name: name for name in (*segments, "top1", "top5")} | {"loss": CLIP_LOSS}
        more = ("oversegmentation", "loss_temporal", "loss_smoothing", "attention_in_region", "pointing_accuracy")
        averaged = self.args.score_averaging_s > 0
        unaveraged = [f"{name}_unaveraged" for name in SEGMENT_METRICS] if averaged else []
        return names | {name: name for name in (*more, *unaveraged)}


def _joined(guidance: Guidance | None) -> GuidanceIndex | None:
    """Guidance of a table, which is all that windows of videos can have: packed clips are refused before."""
    assert not isinstance(guidance, PackedGuidance)
    return guidance
