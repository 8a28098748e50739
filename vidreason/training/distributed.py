"""What several processes leave behind, the same as one: saved models, and each clip of a split counted once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.data_loader import IterableDatasetShard
from torch import distributed
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer


class DistributedTrainer(Trainer):
    """A `transformers.Trainer` that is rid of three traps of several processes, and of one of persistent workers.

    Under FSDP, `save_model` writes nothing at all where checkpoints are sharded. Under FSDP2, a model's class is one
    of torch's, which is then what is exported as the model's code and named in its `config.json`. And in evaluation on
    a stream, the clips that fill up the last batches are counted. With persistent workers, the loader of the first
    data set that was evaluated is kept, and used for any other that is given later.
    """

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Batches to evaluate on; a stream's clips are counted once."""
        if not (eval_dataset is None or isinstance(eval_dataset, str) or eval_dataset is self.eval_dataset):
            return self.get_test_dataloader(eval_dataset)
        return _with_stream_length(super().get_eval_dataloader(eval_dataset))

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """Batches to predict; a stream's clips are counted once."""
        return _with_stream_length(super().get_test_dataloader(test_dataset))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the whole model, whichever form checkpoints have. Every process has to call this."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is None or _internal_call:  # that of a checkpoint, which keeps its form
            super().save_model(output_dir, _internal_call)
            return
        form = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            plugin.set_state_dict_type(form)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        with unsharded_class(self.accelerator.unwrap_model(self.model, keep_torch_compile=False)):
            super()._save(output_dir, state_dict)


def _with_stream_length(loader: DataLoader) -> DataLoader:
    """Tell accelerate how many clips a stream has over all processes.

    It fills up the last batches, and cuts off as many as it added; but of a stream it takes the number that one
    process is given, and that process's batch, for those of all.
    """
    shard = loader.dataset
    if isinstance(shard, IterableDatasetShard) and hasattr(shard.dataset, "__len__"):
        shard.total_dataset_length = len(shard.dataset)
        loader.batch_sampler.num_processes = shard.num_processes
    return loader


@contextmanager
def unsharded_class(model: torch.nn.Module) -> Iterator[None]:
    """Give a model that FSDP2 has sharded its own class back for a while. Its weights stay sharded.

    Args:
        model: sharded or not; one that is not stays as it is.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    from torch.distributed.fsdp import FSDPModule  # not part of every build of torch

    sharded = type(model)
    if not issubclass(sharded, FSDPModule):
        yield
        return
    # `fully_shard` derives a class from (FSDPModule, the model's) and assigns it
    model.__class__ = next(base for base in sharded.__bases__ if not issubclass(base, FSDPModule))
    try:
        yield
    finally:
        model.__class__ = sharded
