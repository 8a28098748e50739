"""The tasks of reasoning supervision: what both share, and the classification of clips."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, TrainerCallback

from ..backbones.describe import describe_supervision
from ..backbones.models import build_model
from ..publishing.cards import ObjectFacts, SupervisionFacts, TrainingFacts, write_model_card
from ..reporting.recipe_facts import RecipeFacts
from ..training.arguments import ModelArguments
from ..training.clip_data import ClipMaker, open_videos
from ..training.clip_task import ClipTask
from ..training.object_data import ObjectTables, fit_maps, open_objects
from ..training.task import Metrics, Prepared
from ..video.cache import SharedVideos
from .config import DataArguments, RSConfig
from .data import GuidedData, build_guided_data
from .evidence import draw_view
from .trainer import RSTrainer


class RSTask(ClipTask[GuidedData]):
    """What both tasks of reasoning supervision share.

    Args:
        model_args: Settings of the model.
        data_args: Settings of the data.
        args: Settings of the training.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.
    """

    args: RSConfig

    def __init__(
        self,
        model_args: ModelArguments,
        data_args: DataArguments,
        args: RSConfig,
        video_cache: SharedVideos | None = None,
    ):
        super().__init__(model_args, data_args, args, video_cache)
        self.data_args = data_args

    def build_model(self, class_names: list[str], objects: ObjectTables | None = None) -> PreTrainedModel:
        """The model of the run, for these classes.

        Args:
            class_names: Names of the classes in the order of the label ids.
            objects: Detections whose maps it is shown; None for a model that is shown none.

        Raises:
            ConfigError: It cannot be built, or supervised, as asked, or takes other maps.
        """
        model = build_model(
            class_names,
            self.model_args.model_name_or_path,
            self.model_args.model_type,
            self.config_overrides(objects),
            self.model_args.replace_head,
            supervised_layers=self.args.supervised_layer_indices,
            task=self.data_args.task,
        )
        fit_maps(model, objects)
        return model

    def write_card(self, folder: Path, prepared: Prepared[GuidedData], recipe: RecipeFacts, metrics: Metrics) -> None:
        """Write the model's card into a folder."""
        write_model_card(folder, self.facts(prepared, recipe, metrics))

    def facts(self, prepared: Prepared[GuidedData], recipe: RecipeFacts, metrics: Metrics) -> TrainingFacts:
        """What the model card says of the run.

        Args:
            prepared: What is trained, on what.
            recipe: How it is trained.
            metrics: Results by split and name.
        """
        model, data, data_args = prepared.model, prepared.data, self.data_args
        about = describe_supervision(model)
        is_segmentation = data_args.task == "segmentation"
        return TrainingFacts(
            model_name=Path(str(self.args.output_dir)).name,
            architecture=about.architecture,
            num_frames=model.config.num_frames,
            supervised_query=about.supervised_query,
            gives_attention=about.gives_attention,
            class_names=tuple(data.class_names),
            task=data_args.task,
            frames_per_second=data_args.fps if is_segmentation else None,
            # 0 is no averaging, of which the card has nothing to say
            score_averaging_s=(self.args.score_averaging_s or None) if is_segmentation else None,
            dataset_sources=(data.source,),
            split_sizes=data.split_sizes,
            guidance=data.guidance,
            objects=data.objects,
            supervision=self._supervision(about.supervised_layers),
            recipe=recipe,
            metrics=metrics,
            base_model=self.model_args.model_name_or_path,
            license=self.model_args.license,
        )

    def _supervision(self, layers: tuple[int, ...] | str) -> SupervisionFacts | None:
        """The reasoning losses and evidence views of the run; None for plain training."""
        args, zoom = self.args, self.data_args.evidence_zoom
        # evidence_zoom is a setting of the data, and so unknown to `is_supervised`
        if not args.is_supervised and zoom == 0:
            return None
        return SupervisionFacts(
            args.spatial_weight,
            args.temporal_weight,
            args.temperature,
            layers,
            args.weight_warmup_ratio,
            args.evidence_swap,
            args.evidence_blank,
            args.evidence_drop,
            zoom,
        )


class ClassificationTask(RSTask):
    """A label for each clip, of videos or of a packed store."""

    def prepare(self) -> Prepared[GuidedData]:
        """Open the videos, and build the model, its processor and the clips of every split."""
        # the videos first: the size of the model's head follows from their classes
        videos = open_videos(self.data_args)
        objects = open_objects(self.data_args, videos)
        model = self.build_model(videos.class_names, objects)
        processor = self.build_processor(model)
        # the model says how many frames a clip has: a checkpoint brings its own number
        maker = ClipMaker(self.data_args, self.args, videos, model.config.num_frames, self.video_cache, objects)
        data = build_guided_data(
            self.data_args,
            self.args,
            videos,
            videos.class_names,
            model,
            processor,
            # drawn with the clip from its own random stream: a view depends on neither batch nor worker
            lambda transform, guidance: maker.training(transform, guidance, extras=draw_view),
            maker.evaluation,
            size_of=len,
            objects=None if objects is None else ObjectFacts(**objects.facts()),
        )
        return Prepared(model, processor, data)

    def make_trainer(self, prepared: Prepared[GuidedData], callbacks: list[TrainerCallback]) -> RSTrainer:
        """The trainer with both losses of the paper."""
        return RSTrainer(
            model=prepared.model,
            args=self.args,
            train_dataset=prepared.data.train,
            eval_dataset=prepared.data.validation,
            # the Trainer saves it with every checkpoint, which then loads on its own
            processing_class=prepared.processor,
            callbacks=callbacks,
        )

    def reported(self) -> dict[str, str]:
        """The names of reports, where the loss is cross-entropy without other terms.

        Where clips are looked at twice, the first look's results stand beside.
        """
        # the weighted total depends on each run's weights, and does not compare between runs
        names = {"top1": "top1", "top5": "top5", "loss": "loss_classification"}
        one_look = {f"{name}_one_look": f"{metric}_one_look" for name, metric in names.items()}
        # measured only where a split has guidance, and None in the report elsewhere
        attention = {name: name for name in ("attention_in_region", "pointing_accuracy")}
        return {**names, **attention, **(one_look if self.args.second_look else {})}
