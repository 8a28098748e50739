"""What the folders of both worlds have in common: they are built once, anew when told to, and whole or not at all."""

import json

import numpy as np
import pytest
from fixtures.small_worlds import ACTIONS_WORLD, ASSEMBLY_WORLD

from vidreason.errors import ConfigError
from vidreason.files import read_folder
from vidreason.synthetic import TRUTH_FOLDER
from vidreason.video import decode_frames


@pytest.fixture(params=[ACTIONS_WORLD, ASSEMBLY_WORLD], ids=["actions", "assembly"])
def world(request):
    return request.param


def videos_in(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*.mp4"))


def times_of_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_videos_do_not_depend_on_processes_or_on_how_many_there_are(world, folder_of, tmp_path):
    folder, fewer = folder_of(world), tmp_path / "fewer"
    world.build(fewer, world.config, world.fewer, seed=3, num_proc=1)
    names = videos_in(fewer)
    assert len(names) == sum(world.fewer.values())
    for name in names:
        # the frames are the same to the byte before encoding; x264 does not promise the same bytes every time
        one, other = (decode_frames(root / name).frames.astype(int) for root in (folder, fewer))
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < 6  # another video is more than 20 away
    truth, rows = read_folder(folder / TRUTH_FOLDER), read_folder(fewer / TRUTH_FOLDER)
    assert set(rows) == set(world.fewer)
    for split in rows:
        assert truth[split].select(range(len(rows[split]))).to_list() == rows[split].to_list()


def test_a_complete_folder_is_left_alone_and_other_settings_are_named(world, folder_of):
    folder = folder_of(world)
    before, size = times_of_files(folder), world.sizes["train"]
    world.build(folder, world.config, world.sizes, seed=3)
    assert times_of_files(folder) == before
    with pytest.raises(ConfigError, match=rf"seed is 3 and not 4.*split_sizes\.train is {size} and not {size - 1}"):
        world.build(folder, world.config, {**world.sizes, "train": size - 1}, seed=4)
    assert times_of_files(folder) == before


def test_overwriting_and_building_again_after_an_interruption(world, tmp_path):
    folder = tmp_path / "world"
    world.build(folder, world.config, {"train": world.min_videos + 1}, seed=0)
    world.build(folder, world.config, {"test": world.min_videos}, seed=1, overwrite=True)
    assert len(videos_in(folder)) == world.min_videos
    for table in world.tables:
        assert set(read_folder(folder / table)) == {"test"}
    (folder / "settings.json").rename(folder / "settings.unfinished.json")
    manifest = world.build(folder, world.config, {"train": world.min_videos}, seed=0)
    assert list(manifest.splits) == ["train"] and len(videos_in(folder)) == world.min_videos
    assert json.loads((folder / "settings.json").read_text())["seed"] == 0


def test_foreign_files_are_never_touched(world, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="not empty"):
            world.build(tmp_path, world.config, world.sizes, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split_sizes": {"dev": 12}}, "dev"),
        ({"split_sizes": {}}, "no split"),
        ({"split_sizes": {"train": 0}}, "'train' has the size 0"),
        ({"split_sizes": {"train": 12.5}}, "size 12.5"),
        ({"num_proc": 0}, "num_proc is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_requests_that_make_no_data_set_are_named(world, tmp_path, arguments, named):
    with pytest.raises(ConfigError, match=named):
        world.build(tmp_path / "world", **arguments)
    assert not (tmp_path / "world").exists()
