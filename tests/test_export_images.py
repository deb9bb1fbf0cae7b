"""`firth export --to hf` of models of pictures: the same numbers for firth and for transformers, or a plain refusal."""

import pytest
import torch

from firth import find
from firth.errors import InputError
from firth.evaluate.export import export
from firth.evaluate.exports import subject_of
from firth.interop.check import check_batches
from firth.interop.folder import save_folder
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import Composed, Objective
from firth.signals.image import Config, Image

CLASSES = ("cat", "dog", "fox")


def write_model(folder, name: str, image: int, head: bool):
    """A model folder of pictures, with or without a classifier, its weights shaken."""
    signal = Image(Config(size=image, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)))
    shape = shape_of(name, "2x32", **signal.sizes)
    backbone = backbone_of(shape, signal.embed(shape))
    module = find.find("tasks", "classify")
    config = module.Config(classes=CLASSES)
    parts = {"classify": find.main_class(module, Objective)(config, backbone)} if head else {}
    objective = Composed(backbone, parts)
    initialise(objective, shape, 0)
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
    facts = {"signal": "image", "task": "classify"} if head else {"signal": "image"}
    save_folder(folder, shape, objective.state_dict(), CLASSES if head else (), facts)
    signal.save(folder)
    return folder


@pytest.mark.parametrize(("name", "image"), [("vit", 8), ("resnet", 128)])
@pytest.mark.parametrize("head", [True, False], ids=["classifier", "encoder"])
def test_transformers_gives_what_firth_gives(tmp_path, name, image, head):
    transformers = pytest.importorskip("transformers")
    done = export(write_model(tmp_path / "model", name, image, head), "hf", tmp_path / "out")
    assert done.differences["firth"] == 0
    assert done.differences[f"transformers {transformers.__version__}"] < 1e-5
    assert (tmp_path / "out" / "preprocessor_config.json").exists()


def test_a_shape_that_transformers_has_not_is_handed_on_for_firth(tmp_path):
    done = export(write_model(tmp_path / "model", "resnet", 8, True), "hf", tmp_path / "out")
    assert done.differences == {"firth": 0}


def test_what_is_checked_are_pictures_of_the_right_size(tmp_path):
    subject = subject_of(write_model(tmp_path, "vit", 8, True), False)
    batches = check_batches(subject.signal)
    assert [tuple(batch["pixels"].shape) for batch in batches] == [(1, 3, 8, 8), (3, 3, 8, 8)]
    assert batches[1]["pixels"].min() < 10 and batches[1]["pixels"].max() > 245
    assert subject.outputs() == {"logits": "batch × 3"}


@pytest.mark.parametrize("form", ["onnx", "gguf"])
def test_other_forms_are_refused(tmp_path, form):
    with pytest.raises(InputError, match="of the shape `vit`"):
        export(write_model(tmp_path / "model", "vit", 8, True), form, tmp_path / "out")
