"""`firth export` of models of pictures: the numbers of firth, of transformers and of onnxruntime are equal."""

import json

import numpy as np
import pytest
import torch

from firth import find
from firth.errors import InputError
from firth.evaluate.export import export
from firth.evaluate.exports import subject_of
from firth.evaluate.predict import load
from firth.evaluate.vectors import embed
from firth.interop import onnx
from firth.interop.check import check_batches, compared, made
from firth.interop.folder import save_folder
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.pixels import Normalise
from firth.model.sizes import shape_of
from firth.objective import Composed, Objective
from firth.signal import Batch, Sample
from firth.signals.image import Config, Image
from tests.picture_files import made as picture
from tests.runs import Told
from tests.test_docs import ROOT, blocks

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


def test_gguf_is_refused_and_onnx_named_which_holds(tmp_path):
    with pytest.raises(InputError, match=r"is a model of the shape `vit`.* Say --to onnx; it opens in other tools."):
        export(write_model(tmp_path / "model", "vit", 8, True), "gguf", tmp_path / "out")


# ------------------------------------------------------------------ ONNX

KINDS = [("vit", 8), ("resnet", 8), ("resnet", 64), ("resnet", 128)]  # every stem


@pytest.mark.parametrize("head", [True, False], ids=["classifier", "encoder"])
@pytest.mark.parametrize(("name", "image"), KINDS)
def test_the_graph_computes_what_the_model_computes(tmp_path, name, image, head):
    subject = subject_of(write_model(tmp_path, name, image, head), False)
    graph, names = onnx.graph_of(subject.objective, subject.exported), list(subject.outputs())
    prepared = onnx.prepared_in(tmp_path)

    @torch.no_grad()
    def traced(batch):
        pixels = torch.from_numpy(onnx.fed(batch, prepared)["pixel_values"])
        return dict(zip(names, graph(pixels), strict=True))

    batches = check_batches(subject.signal)
    ours = iter([subject(batch) for batch in batches])
    with onnx.traceable(subject.backbone):
        found = compared(lambda _: next(ours), traced, batches)
    assert found.outputs == tuple(names) and found.difference < 1e-5
    assert isinstance(subject.backbone.embed.normalise, Normalise)


def test_inputs_are_prepared_as_transformers_does():
    pixels = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(1, 3, 4, 4)
    prepared = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    found = onnx.fed(Batch(pixels=pixels), prepared)["pixel_values"]
    assert found.dtype == np.float32 and found[0, 1, 0, 0] == pytest.approx((16 / 255 - 0.2) / 0.6)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model of pictures, and its export."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    folder, told = tmp_path_factory.mktemp("pictures"), Told()
    done = export(write_model(folder / "model", "vit", 8, True), "onnx", folder / "photos-onnx", show=told)
    assert done.differences[f"onnxruntime {runtime.__version__}"] < 1e-5
    assert "ONNX · pixel_values (batch × 3 × 8 × 8) → logits (batch × 3)" in told.lines["Plan"]
    return folder


def test_the_folder_is_whole(written):
    names = sorted(one.name for one in (written / "photos-onnx").iterdir())
    assert names == ["config.json", "model.onnx", "preprocessor_config.json"]
    opened = onnx.Opened(written / "photos-onnx" / "model.onnx")
    assert (opened.inputs, opened.outputs) == (["pixel_values"], ["logits"])
    assert [one.shape for one in opened.session.get_inputs()] == [["batch", 3, 8, 8]]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_pictures(written, count):
    subject, opened = subject_of(written / "model", False), onnx.Opened(written / "photos-onnx" / "model.onnx")
    batch = subject.signal.stack([made(subject.signal, key) for key in range(count)])
    torch.testing.assert_close(opened(batch)["logits"], subject(batch)["logits"], rtol=0, atol=1e-5)


def test_another_program_predicts_as_firth_does(written):
    """What stands beside the graph is enough: Pillow, NumPy, onnxruntime, a softmax."""
    runtime, told = (
        pytest.importorskip("onnxruntime"),
        json.loads((written / "photos-onnx" / "preprocessor_config.json").read_text()),
    )
    image = picture(8, 8)
    mean, std = (np.array(told[f"image_{name}"], np.float32)[:, None, None] for name in ("mean", "std"))
    pixels = (np.asarray(image, np.float32).transpose(2, 0, 1) * told["rescale_factor"] - mean) / std
    session = runtime.InferenceSession(written / "photos-onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixel_values": pixels[None].astype(np.float32)})
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    (said,) = load(written / "model").predict([np.asarray(image).transpose(2, 0, 1)])
    np.testing.assert_allclose(shares, [said.probabilities[name] for name in CLASSES], atol=1e-5)


def test_the_python_of_the_page_runs(written, monkeypatch, capsys):
    code = next(text for _, text in blocks(ROOT / "docs" / "export.md") if "a.jpg" in text and "import" in text)
    assert "firth" not in code
    monkeypatch.chdir(written)
    picture(8, 8).save("a.jpg")
    exec(compile(code, "export.md", "exec"), {})
    (said,) = load(written / "model").predict(["a.jpg"])
    assert capsys.readouterr().out.strip() == said.label


@pytest.mark.slow
@pytest.mark.parametrize("head", [True, False], ids=["classifier", "encoder"])
@pytest.mark.parametrize(("name", "image"), KINDS)
def test_every_shape_and_head(tmp_path, name, image, head):
    runtime = pytest.importorskip("onnxruntime")
    done = export(write_model(tmp_path / "model", name, image, head), "onnx", tmp_path / "out")
    assert done.differences[f"onnxruntime {runtime.__version__}"] < 1e-5


@pytest.mark.slow
def test_vectors_are_those_of_embed(tmp_path):
    model = write_model(tmp_path / "model", "resnet", 8, True)
    export(model, "onnx", tmp_path / "out", vectors=True)
    subject, opened = subject_of(model, True), onnx.Opened(tmp_path / "out" / "model.onnx")
    assert opened.outputs == ["last_hidden_state", "image_embedding"]
    paths = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    for seed, path in enumerate(paths):
        picture(8, 8, seed=seed).save(path)
    samples = [Sample((one.ids,), key=0) for one in subject.signal.encode(paths)]
    np.testing.assert_allclose(opened(subject.signal.stack(samples))["image_embedding"], embed(model, paths), atol=1e-5)
