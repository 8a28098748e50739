"""What several processes leave behind, the same as one: saved models, and each clip of a split counted once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import IterableDatasetShard
from torch import distributed
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .checkpoints import UNFINISHED, finish_checkpoint, loading, rotate_checkpoints, saving


class DistributedTrainer(Trainer):
    """A `transformers.Trainer` without three traps of several processes, one of persistent workers, and its stub card.

    A resumed run goes on exactly as if it had never been stopped, from any step: the draws of a clip hang on its
    epoch, which accelerate does not pass on in the epoch that is resumed, nor ever to several processes. And a
    checkpoint is there whole or not at all, however the run that writes it ends.

    Under FSDP, `save_model` writes nothing at all where checkpoints are sharded. Under FSDP2, a model's class is one
    of torch's, which is then what is exported as the model's code and named in its `config.json`. In evaluation on
    a stream, the clips that fill up the last batches are counted. With persistent workers, the loader of the first
    data set that was evaluated is kept, and used for any other that is given later. And what is pushed to the Hub has
    a card that was made from the log alone.

    Attributes:
        card_writer: Writes the model's card into the folder it is given; None leaves the Trainer's own card.
    """

    # a class attribute: a trainer outside of `run_training` has no writer and keeps the Trainer's card
    card_writer: Callable[[Path], None] | None = None
    # where a checkpoint is being written; None when none is
    _unfinished: Path | None = None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # the Trainer gives all by keyword
        set_loader_epoch(kwargs["train_dataloader"], kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        """Batches to train on."""
        loader = super().get_train_dataloader()
        # workers that stay are started in the first epoch, and once more after resuming; others in every epoch
        return _with_own_seeds(loader) if self.args.dataloader_persistent_workers else loader

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Batches to evaluate on; a stream's clips are counted once."""
        # the Trainer keeps a loader with persistent workers under the name "eval", whatever data set it is of;
        # a string names one of several evaluation sets, and the Trainer keeps their loaders apart by that name
        if not (eval_dataset is None or isinstance(eval_dataset, str) or eval_dataset is self.eval_dataset):
            # the loader of a test set is made anew at each call
            return self.get_test_dataloader(eval_dataset)
        return _with_own_seeds(_with_stream_length(super().get_eval_dataloader(eval_dataset)))

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """Batches to predict; a stream's clips are counted once."""
        return _with_own_seeds(_with_stream_length(super().get_test_dataloader(test_dataset)))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the whole model, whichever form checkpoints have. Every process has to call this."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is None or _internal_call:  # a checkpoint keeps its form
            super().save_model(output_dir, _internal_call)
            return
        form = plugin.state_dict_type
        # with any other form the Trainer's `save_model` returns without writing and without a warning
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            # checkpoints keep the form that the user chose
            plugin.set_state_dict_type(form)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # whatever is saved so that `from_pretrained` takes it comes through here: checkpoints and the finished model;
        # torch.compile wraps the model in a class of its own, which is no more to be exported than FSDP's
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        folder = Path(output_dir or str(self.args.output_dir))
        # a checkpoint is named by what is to become of it
        named = saving(folder) if self._unfinished is None else contextlib.nullcontext()
        with unsharded_class(model), named:
            super()._save(output_dir, state_dict)
        self._write_card(output_dir or self.args.output_dir)

    def _get_output_dir(self, trial: Any) -> str:
        # the Trainer asks for it where it writes, looks for and deletes checkpoints
        return super()._get_output_dir(trial) if self._unfinished is None else str(self._unfinished)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        run_folder, name = Path(super()._get_output_dir(trial)), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        unfinished, checkpoint = run_folder / UNFINISHED / name, run_folder / name
        everyone = self.accelerator.wait_for_everyone
        with saving(checkpoint):
            if self.is_local_process_zero():
                shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped
            everyone()  # before any process writes its part
            self._unfinished = unfinished.parent
            try:
                super()._save_checkpoint(model, trial)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)  # a full disk needs the room
                raise
            finally:
                self._unfinished = None
            self._name_best_checkpoint(unfinished, checkpoint)
            everyone()  # each has written its random numbers
            if self.is_world_process_zero():
                finish_checkpoint(unfinished, checkpoint)
            everyone()
            # still there only where machines share no folder
            if self.is_local_process_zero() and unfinished.is_dir():
                finish_checkpoint(unfinished, checkpoint)
            everyone()
            if self.args.should_save:
                best = self.state.best_model_checkpoint
                kept = {checkpoint, *([] if best is None else [Path(best)])}
                rotate_checkpoints(run_folder, self.args.save_total_limit, kept)
                with contextlib.suppress(OSError):  # not empty: another process is at it
                    unfinished.parent.rmdir()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))

    def _name_best_checkpoint(self, unfinished: Path, checkpoint: Path) -> None:
        """Call a checkpoint that is the best by the name that it gets, in its own record too."""
        best = self.state.best_model_checkpoint
        if best is None or Path(best) != unfinished:
            return
        self.state.best_model_checkpoint = str(checkpoint)
        if self.args.should_save:
            self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        with loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with loading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        with loading(self.state.best_model_checkpoint):
            super()._load_best_model()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the card into `output_dir`; the Trainer calls this before it pushes a finished model to the Hub."""
        # `push_to_hub` calls this before the upload: the Trainer's own card would replace the one already written
        if self.card_writer is None:
            super().create_model_card(*args, **kwargs)
        else:
            self._write_card(self.args.output_dir)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # uploads in another thread, which would lose its files when they get their name: called again after that
        if self._unfinished is not None:
            return
        # this pushes `output_dir`, into which the Trainer has copied the checkpoint's weights, but no card
        self._write_card(self.args.output_dir)
        super()._push_from_checkpoint(checkpoint_folder)

    def _write_card(self, folder: str | None) -> None:
        # processes share the folder: one of them writes
        if self.card_writer is not None and folder is not None and self.is_world_process_zero():
            self.card_writer(Path(folder))


def set_loader_epoch(loader: DataLoader, epoch: int) -> None:
    """Tell a loader's data set and sampler the epoch, however deeply accelerate has wrapped them.

    Accelerate's own `set_epoch` tells the sampler or else the data set, and the sampler only where it is wrapped once.
    So a data set with a random order is not told where several processes share it, or where a resumed epoch's first
    batches are skipped; with both, the sampler is not told either.

    Args:
        loader: The loader, as accelerate has prepared it.
        epoch: Number of the epoch, from 0.
    """
    parts: list[Any] = [loader]
    for part in parts:  # which grows by what each part wraps
        inner = (getattr(part, name, None) for name in ("dataset", "batch_sampler", "sampler"))
        parts += [one for one in inner if one is not None and not any(one is seen for seen in parts)]
    for part in parts[1:]:
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def _with_own_seeds(loader: DataLoader) -> DataLoader:
    """Let a loader draw its workers' seeds, one whenever it starts, from a generator of its own.

    Drawn from torch's, they shift what dropout draws from it. So a run that was resumed behind an evaluation, or that
    had to start its workers once more, would go on with other random numbers than one that was never stopped.
    """
    # accelerate's loader stands before torch's, which is the one that draws
    base = getattr(loader, "base_dataloader", loader)
    # no clip is drawn by these seeds: it brings its own
    base.generator = torch.Generator().manual_seed(0)
    return loader


def _with_stream_length(loader: DataLoader) -> DataLoader:
    """Tell accelerate how many clips a stream has over all processes.

    It fills up the last batches, and cuts off as many as it added; but of a stream it takes the number that one
    process is given, and that process's batch, for those of all.
    """
    shard = loader.dataset
    # clips by index need no correction: accelerate takes the length of the whole data set
    if isinstance(shard, IterableDatasetShard) and hasattr(shard.dataset, "__len__"):
        shard.total_dataset_length = len(shard.dataset)
        # accelerate reads it off the sampler to get the batch of all processes; torch's own have no such field
        sampler: Any = loader.batch_sampler
        sampler.num_processes = shard.num_processes
    return loader


@contextmanager
def unsharded_class(model: torch.nn.Module) -> Iterator[None]:
    """Give a model that FSDP2 has sharded its own class back for a while. Its weights stay sharded.

    Args:
        model: The model, sharded or not; one that is not stays as it is.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    from torch.distributed.fsdp import FSDPModule  # not part of every build of torch

    sharded = type(model)
    # FSDP1 wraps the model, and `unwrap_model` takes the wrapper off: the class was never exchanged
    if not issubclass(sharded, FSDPModule):
        yield
        return
    # `fully_shard` derives a class from (FSDPModule, the model's) and assigns it
    model.__class__ = next(  # type: ignore[assignment]  # `__bases__` is typed as classes of any object
        base for base in sharded.__bases__ if not issubclass(base, FSDPModule)
    )
    try:
        yield
    finally:
        # training may go on after a checkpoint, and needs the methods of FSDPModule
        model.__class__ = sharded
