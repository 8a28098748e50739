"""Settings of annotation in parts. They can be read where datatrove is not installed."""

from dataclasses import dataclass, field

EXECUTORS = ("local", "slurm", "ray")


@dataclass
class ScaleArguments:
    """Annotation in parts (wants `pip install "vidreason[scale]"`)."""

    tasks: int = field(default=1, metadata={"help": "Parts; keep the number when you go on with a run."})
    workers: int = field(default=-1, metadata={"help": "Parts at the same time; all by default."})
    executor: str = field(default="local", metadata={"help": "Who starts them.", "choices": list(EXECUTORS)})
    slurm_partition: str = field(default="", metadata={"help": "Slurm's partition."})
    slurm_time: str = field(default="24:00:00", metadata={"help": "Slurm's limit for each part."})
    cpus_per_task: int = field(default=1, metadata={"help": "Slurm and Ray: cores of a part."})
