"""What a person sees of views: contact sheets and reconstructions, written into the run folder."""

import numpy as np
import pytest
import torch
from PIL import Image

from firth.functional.picture import EDGE, PAPER
from firth.functional.random import Draw
from firth.objectives import _views, mae
from firth.recipe import Recipe
from firth.train.samples import Pictures
from tests import contract, pictures


class Source:
    lengths = None

    def __init__(self, count: int = 3):
        self.samples = pictures.samples(count)

    def __len__(self) -> int:
        return len(self.samples)

    def get(self, indices, draw):
        return [self.samples[index] for index in indices]


def recipe_of(name: str) -> Recipe:
    """With the table of the method filled, as in a run."""
    config = contract.build([name]).configs[0]
    return Recipe(objective=(name,), tables={name.replace("-", "_"): config.model_dump(mode="json")})


def written(name: str, folder, source=None) -> Pictures:
    made = Pictures(recipe_of(name), contract.kit_of(name).signal, Source() if source is None else source, folder)
    made.write(0, contract.build([name]))
    return made


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "barlow-twins", "moco", "dino"])
def test_views_are_one_picture(name, tmp_path):
    made = written(name, tmp_path)
    path = tmp_path / "views.png"
    columns = 1 + made.tries["views"].shape[1]
    cell = 64 + EDGE
    with Image.open(path) as picture:
        assert picture.size == (columns * cell + EDGE, 3 * cell + EDGE)
    before = path.read_bytes()
    made.write(10, contract.build([name]))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["views.png"]


def test_the_first_column_of_a_sheet_is_the_picture(tmp_path):
    written("simclr", tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "views.png"))
    cell = sheet[2 : 2 + 64, 2 : 2 + 64]
    first = pictures.samples(3)[0].parts[0].transpose(1, 2, 0).repeat(8, 0).repeat(8, 1)
    assert np.abs(cell.astype(int) - first).max() <= 1
    assert (sheet[:2] == PAPER).all() and (sheet[:, :2] == PAPER).all()


def test_reconstructions_are_written_at_every_look(tmp_path):
    made = written("mae", tmp_path)
    made.write(10, contract.build(["mae"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0.png", "step-10.png"]


def test_without_samples_nothing_is_written(tmp_path):
    written("simclr", tmp_path / "samples", Source(0))
    assert not (tmp_path / "samples").exists()


def test_what_is_left_of_a_picture_stays_in_its_reconstruction():
    objective = contract.build(["mae"])
    part = objective.parts["mae"]
    batch = contract.batch_of(objective, pictures.samples(2))
    with torch.no_grad():
        whole, holes, drawn = mae.reconstructed(part, batch)
    patches = [mae.patches_of(column, 2) for column in (whole, holes, drawn)]
    for row in range(2):
        visible, masked = batch["visible"][row], batch["masked"][row]
        torch.testing.assert_close(patches[1][row, visible], patches[0][row, visible])
        torch.testing.assert_close(patches[2][row, visible], patches[0][row, visible].double())
        assert (patches[1][row, masked] == mae.HOLE).all()
        assert (patches[2][row, masked] != patches[0][row, masked]).any()


def test_a_perfect_drawing_is_the_picture():
    """What is drawn in normalised pixels comes back with the mean and the deviation of its patch."""
    objective = contract.build(["mae"])
    part = objective.parts["mae"]
    batch = contract.batch_of(objective, pictures.samples(2))
    whole, _ = part.drawn(batch)
    wanted = part.wanted(mae.patches_of(whole, 2))
    part.drawn = lambda batch: (whole, wanted)
    torch.testing.assert_close(mae.reconstructed(part, batch)[2], whole, atol=1e-5, rtol=1e-5)


def test_patches_and_pictures_are_inverse():
    shown = torch.rand(2, 3, 8, 8)
    patches = mae.patches_of(shown, 4)
    assert torch.equal(mae.pictures_of(patches, 4, 3), shown)
    assert torch.equal(patches[1, 2], shown[1, :, 4:, :4].permute(1, 2, 0).flatten())


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_sheets_of_any_channels_are_in_colour(channels):
    config = contract.config_of("simclr")
    chosen = iter(pictures.samples(2, side=100, channels=channels))
    batch = _views.tries(contract.kit_of("simclr").signal, chosen, Draw(0), config)
    sheet = _views.sheet_of_views(batch, 50)
    assert sheet.shape == (2 * 102 + 2, 3 * 102 + 2, 3) and sheet.dtype == np.uint8
    if channels < 3:
        assert (sheet[..., 0] == sheet[..., 1]).all()
