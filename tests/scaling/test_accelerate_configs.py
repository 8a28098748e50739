"""accelerate takes the config files as they are meant, and they name modules that there are."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from scaling_checks import CONFIGS, ROOT
from scaling_runs import make_model

FILES = sorted(CONFIGS.glob("*.yaml"))
SHARDED = [path for path in FILES if path.stem.startswith("fsdp")]
BLOCKS = {
    "timesformer": "TimesformerLayer",
    "vivit": "VivitLayer",
    "videomae": "VideoMAELayer",
    "vjepa2": "VJEPA2Layer",
}
PAGE = ROOT / "docs" / "scaling.md"

PRINT_ENVIRONMENT = """
import os
wanted = ("FSDP_", "ACCELERATE_", "RANK", "WORLD_SIZE")
print(str({name: value for name, value in os.environ.items() if name.startswith(wanted)}) + "\\n", end="", flush=True)
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_is_what_its_name_says(path):
    config = load_config_from_file(str(path))  # refuses a key that it does not know
    expected = DistributedType.FSDP if path in SHARDED else DistributedType.MULTI_GPU
    assert config.distributed_type == expected
    assert config.num_machines == (2 if "2_nodes" in path.stem else 1)
    assert config.num_processes == (2 if config.use_cpu else 8 * config.num_machines)
    assert config.mixed_precision == ("no" if config.use_cpu else "bf16")
    assert config.use_cpu == ("cpu" in path.stem)


def test_a_slip_of_the_pen_is_refused(tmp_path):
    settings = yaml.safe_load((CONFIGS / "ddp_1_node.yaml").read_text())
    (tmp_path / "slip.yaml").write_text(yaml.safe_dump({**settings, "num_proceses": 4}))
    with pytest.raises(ValueError, match="num_proceses"):
        load_config_from_file(str(tmp_path / "slip.yaml"))


@pytest.mark.parametrize("path", SHARDED, ids=lambda path: path.stem)
def test_sharding_is_set_by_flags_that_accelerate_has(path):
    """It copies these keys without a look at them: a wrong one would be no error and do nothing."""
    known = {action.dest for action in launch_command_parser()._actions}
    keys = set(load_config_from_file(str(path)).fsdp_config)
    assert "fsdp_version" in keys
    assert keys <= known


def test_sharding_is_the_same_on_one_node_and_two():
    one, two = (load_config_from_file(str(path)).fsdp_config for path in SHARDED)
    assert one == two


def launched_environments(folder: Path, config: str, *flags: str) -> list[dict[str, str]]:
    """What the processes that a config starts find in their environment, by rank."""
    script = folder / "print_environment.py"
    script.write_text(PRINT_ENVIRONMENT)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / config), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    found = [yaml.safe_load(line) for line in finished.stdout.splitlines()]
    return sorted(found, key=lambda variables: variables["RANK"])


def test_two_processes_start_on_cpus(tmp_path):
    found = launched_environments(tmp_path, "cpu_2_processes.yaml")
    assert [variables["RANK"] for variables in found] == ["0", "1"]
    assert {variables["WORLD_SIZE"] for variables in found} == {"2"}
    assert {variables["ACCELERATE_MIXED_PRECISION"] for variables in found} == {"no"}


def test_the_plugin_comes_out_of_the_launcher_as_meant(monkeypatch, tmp_path):
    flags = ("--num_processes", "1", "--fsdp_transformer_layer_cls_to_wrap", "VivitLayer")
    (given,) = launched_environments(tmp_path, "fsdp_1_node.yaml", *flags)
    assert given["ACCELERATE_MIXED_PRECISION"] == "bf16"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.transformer_cls_names_to_wrap == ["VivitLayer"]  # a flag wins over the file
    assert not plugin.activation_checkpointing
    assert not plugin.cpu_ram_efficient_loading


@pytest.mark.parametrize("path", SHARDED, ids=lambda path: path.stem)
def test_the_block_that_is_wrapped_is_in_the_model(path):
    config = load_config_from_file(str(path)).fsdp_config
    modules = {type(module).__name__ for module in make_model().modules()}
    assert set(config["fsdp_transformer_layer_cls_to_wrap"].split(",")) <= modules


@pytest.mark.parametrize(("family", "block"), BLOCKS.items())
def test_the_blocks_of_other_backbones_are_what_transformers_calls_them(family, block):
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    assert hasattr(module, block)
    (pretrained,) = (getattr(module, name) for name in vars(module) if re.fullmatch(r"\w+PreTrainedModel", name))
    assert block in pretrained._no_split_modules
    assert block in (CONFIGS / "fsdp_1_node.yaml").read_text()
    assert block in PAGE.read_text()


def test_the_page_names_every_config_and_no_other():
    named = set(re.findall(r"recipes/accelerate/(\w+\.yaml)", PAGE.read_text()))
    assert named == {path.name for path in FILES}
    assert all(Path(path).is_file() for path in FILES)
