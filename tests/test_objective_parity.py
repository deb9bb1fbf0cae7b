"""The losses equal those of transformers on the same weights and labels."""

import pytest
import torch

from firth.functional.losses import IGNORE
from firth.interop.folder import save_folder
from firth.objective import total
from tests import contract


@pytest.fixture(scope="module", params=["bert", "modernbert"])
def theirs(request, tmp_path_factory):
    """(our objective, transformers' model of the same weights)."""
    transformers = pytest.importorskip("transformers")
    names = ["masked-tokens", "next-sentence"] if request.param == "bert" else ["masked-tokens"]
    ours = contract.build(names, torch.float32, request.param)
    folder = tmp_path_factory.mktemp(request.param)
    save_folder(folder, ours.backbone.shape, ours.state_dict())
    kind = transformers.BertForPreTraining if request.param == "bert" else transformers.AutoModelForMaskedLM
    model = kind.from_pretrained(folder, attn_implementation="eager").double().eval()
    return ours.double(), model


def labels_of(batch):
    """(B, T) int64 as transformers wants them: the true token where it is hidden, -100 elsewhere."""
    labels = torch.full_like(batch["tokens"], IGNORE)
    rows, columns = (batch["target"] != IGNORE).nonzero(as_tuple=True)
    labels[rows, batch["keep"][rows, columns]] = batch["target"][rows, columns]
    return labels


def test_loss_and_gradient_equal_those_of_transformers(theirs):
    """Same weights, same hidden tokens, same labels; theirs is a mean over the hidden tokens of the batch."""
    ours, model = theirs
    ours.zero_grad(), model.zero_grad()
    batch = contract.batch_of(ours, contract.samples(5))
    given = {"input_ids": batch["tokens"], "attention_mask": (~batch["pad"]).long(), "labels": labels_of(batch)}
    if "next-sentence" in ours.parts:
        given |= {"token_type_ids": batch["segments"], "next_sentence_label": batch["next_sentence"]}
    loss, output = total(ours(batch), batch.counts, ours.weights), model(**given)
    assert loss.item() == pytest.approx(output.loss.item(), rel=1e-6)  # their rotary angles are fp32 in any precision
    loss.backward(), output.loss.backward()
    embedding = model.get_input_embeddings().weight.grad
    torch.testing.assert_close(ours.backbone.embed.word.weight.grad, embedding, rtol=1e-4, atol=1e-7)
