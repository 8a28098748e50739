"""The task of object-centric training: clips with one label each, and maps of the objects in them."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainerCallback

from ..backbones.describe import describe_supervision
from ..backbones.models import build_model
from ..publishing.cards import ObjectFacts, TrainingFacts, write_model_card
from ..reporting.recipe_facts import RecipeFacts
from ..training.arguments import ModelArguments
from ..training.clip_data import ClipMaker, open_videos
from ..training.clip_task import ClipTask
from ..training.object_data import fit_maps, open_objects
from ..training.task import Metrics, Prepared
from ..video.cache import SharedVideos
from .config import DataArguments, ObjectCentricConfig
from .data import ObjectData, build_object_data
from .trainer import ObjectCentricTrainer


class ObjectCentricTask(ClipTask[ObjectData]):
    """A label for each clip, of videos or of a packed store, with or without maps.

    Args:
        model_args: Settings of the model.
        data_args: Settings of the data.
        args: Settings of the training.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.
    """

    args: ObjectCentricConfig

    def __init__(
        self,
        model_args: ModelArguments,
        data_args: DataArguments,
        args: ObjectCentricConfig,
        video_cache: SharedVideos | None = None,
    ):
        super().__init__(model_args, data_args, args, video_cache)
        self.data_args = data_args

    def prepare(self) -> Prepared[ObjectData]:
        """Open videos and detections, and build the model, its processor and the clips of every split."""
        # the videos first: the size of the model's head follows from their classes
        videos = open_videos(self.data_args)
        objects = open_objects(self.data_args, videos)
        model = build_model(
            videos.class_names,
            self.model_args.model_name_or_path,
            self.model_args.model_type,
            self.config_overrides(objects),
            self.model_args.replace_head,
        )
        fit_maps(model, objects)
        processor = self.build_processor(model)
        # the model says how many frames a clip has: a checkpoint brings its own number
        maker = ClipMaker(self.data_args, self.args, videos, model.config.num_frames, self.video_cache, objects)
        shown = None if objects is None else ObjectFacts(**objects.facts())
        data = build_object_data(self.data_args, self.args, videos, maker, model, processor, shown)
        return Prepared(model, processor, data)

    def make_trainer(self, prepared: Prepared[ObjectData], callbacks: list[TrainerCallback]) -> ObjectCentricTrainer:
        """The trainer of the run."""
        return ObjectCentricTrainer(
            model=prepared.model,
            args=self.args,
            train_dataset=prepared.data.train,
            eval_dataset=prepared.data.validation,
            # the Trainer saves it with every checkpoint, which then loads on its own
            processing_class=prepared.processor,
            callbacks=callbacks,
        )

    def reported(self) -> dict[str, str]:
        """The names of reports."""
        return {"top1": "top1", "top5": "top5", "loss": "loss_classification"}

    def write_card(self, folder: Path, prepared: Prepared[ObjectData], recipe: RecipeFacts, metrics: Metrics) -> None:
        """Write the model's card into a folder."""
        write_model_card(folder, self.facts(prepared, recipe, metrics))

    def facts(self, prepared: Prepared[ObjectData], recipe: RecipeFacts, metrics: Metrics) -> TrainingFacts:
        """What the model card says of the run.

        Args:
            prepared: What is trained, on what.
            recipe: How it is trained.
            metrics: Results by split and name.
        """
        model, data = prepared.model, prepared.data
        about = describe_supervision(model)
        return TrainingFacts(
            model_name=Path(str(self.args.output_dir)).name,
            architecture=about.architecture,
            num_frames=model.config.num_frames,
            supervised_query=about.supervised_query,
            gives_attention=about.gives_attention,
            class_names=tuple(data.class_names),
            dataset_sources=(data.source,),
            split_sizes=data.split_sizes,
            objects=data.objects,
            recipe=recipe,
            metrics=metrics,
            base_model=self.model_args.model_name_or_path,
            license=self.model_args.license,
        )
