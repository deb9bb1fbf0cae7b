"""Teachers, queues, centres, heads of objectives over views: how they begin and move, and what they leave alone."""

import pytest
import torch

from firth.objective import Before
from firth.objectives import _projector, moco
from firth.signal import Batch
from tests import contract

# ------------------------------------------------------------------ teachers


@pytest.mark.parametrize("name", ["byol", "moco", "dino"])
def test_a_teacher_begins_as_its_student_and_has_no_gradient(name):
    part = contract.build([name]).parts[name]
    pairs = list(part.teacher._pairs(everything=True))
    assert pairs and all(torch.equal(own, theirs) for own, theirs in pairs)
    assert not [n for n, _ in part.named_parameters() if n.startswith("teacher")]
    assert any(n.startswith("teacher") for n in part.state_dict())


@pytest.mark.parametrize("name", ["byol", "moco", "dino"])
def test_a_teacher_is_a_moving_average(name):
    part = contract.build([name]).parts[name]
    pairs = [(own, theirs) for own, theirs in part.teacher._pairs(everything=False) if own.is_floating_point()]
    before = [own.clone() for own, _ in pairs]
    with torch.no_grad():
        for _, theirs in pairs:
            theirs.add_(1)
    part.teacher.updates.fill_(10**6)
    part.teacher.follow(0.9)
    for (own, theirs), old in zip(pairs, before, strict=True):
        torch.testing.assert_close(own, 0.9 * old + 0.1 * theirs)


@pytest.mark.parametrize(("name", "hurries"), [("byol", False), ("moco", True), ("dino", True)])
def test_a_young_teacher_hurries_unless_a_predictor_waits_for_it(name, hurries):
    """By at most (1 + n) / (10 + n) of itself; how often it has followed is in the checkpoint."""
    teacher = contract.build([name]).parts[name].teacher
    own, theirs = next(teacher._pairs(everything=False))
    with torch.no_grad():
        own.zero_(), theirs.fill_(1)
    left = 1.0
    for n in range(4):
        teacher.follow(0.99)
        left *= min(0.99, (1 + n) / (10 + n)) if hurries else 0.99
    torch.testing.assert_close(own, torch.full_like(own, 1 - left))
    assert teacher.updates == 4 and "updates" in teacher.state_dict()
    teacher.become()
    assert teacher.updates == 0


def test_the_momentum_of_a_young_teacher_is_that_of_tensorflow():
    """min(decay, (1 + updates) / (10 + updates)), as its ExponentialMovingAverage documents."""
    found = [_projector.hurried(0.99, n) for n in (0, 8, 90, 890, 10**6)]
    assert found == pytest.approx([0.1, 0.5, 0.91, 0.99, 0.99])


def test_the_momentum_rises_to_one():
    rates = [_projector.rising(0.99, progress) for progress in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([0.99, 0.995, 1.0])


def test_teachers_stay_exact_beside_students_of_low_precision():
    """A step of 0.001 of a weight of 1 is lost in bf16, and kept in the average."""
    student = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(student.weight)
    teacher = _projector.Teacher(student, hurries=False)
    teacher.become()
    for parameter in student.parameters():
        parameter.data = parameter.data.bfloat16()
    with torch.no_grad():
        student.weight.zero_()
    teacher.follow(0.999)
    assert teacher.copies[0].weight.dtype == torch.float32
    torch.testing.assert_close(teacher.copies[0].weight, torch.full((2, 2), 0.999))
    assert teacher(0, torch.ones(1, 2)).dtype == torch.bfloat16  # it computes as its student does


# ------------------------------------------------------------------ queues, centres, heads


def test_a_queue_holds_the_newest():
    part = moco.MoCo(contract.config_of("moco", queue=5), contract.build(["moco"]).backbone).double()
    rows = torch.arange(12.0, dtype=torch.float64)[:, None].expand(12, part.config.out)

    def some(begin: int, end: int) -> moco.Vectors:
        return moco.Vectors(rows[begin:end], torch.arange(100 + begin, 100 + end))

    part.enqueue(some(0, 2))
    assert (part.filled.item(), part.place.item()) == (2, 2) and len(part.queued.values) == 2
    part.enqueue(some(2, 4)), part.enqueue(some(4, 6))
    assert part.queue[:, 0].tolist() == [5, 1, 2, 3, 4] and (part.filled.item(), part.place.item()) == (5, 1)
    assert part.owners.tolist() == [105, 101, 102, 103, 104]
    part.enqueue(some(0, 12))
    assert sorted(part.queue[:, 0].tolist()) == [7, 8, 9, 10, 11]
    assert (part.owners - 100).tolist() == part.queue[:, 0].tolist()


def test_against_an_empty_queue_there_are_the_others_of_the_batch():
    objective = contract.build(["moco"])
    part = objective.parts["moco"]
    part.filled.zero_()
    batch = contract.batch_of(objective, contract.samples(4, of="moco"))
    loss, wanted = objective(batch), part.fresh[0]
    first, _ = part.pictures(batch).chunk(2)
    queries = _projector.unit(part.projector(objective.backbone({"pixels": first}).pooled))
    expected = torch.nn.functional.cross_entropy(queries @ wanted.values.T / 0.2, torch.arange(4), reduction="sum")
    torch.testing.assert_close(loss.terms["moco"].sum, expected)
    assert wanted.owners.tolist() == batch["key"].tolist()


@pytest.mark.parametrize(
    ("asked", "pictures", "length"), [(None, 1760, 880), (None, 10**6, 4096), (None, 1, 1), (512, 600, 512)]
)
def test_a_queue_is_no_longer_than_half_the_pictures_unless_asked_for(asked, pictures, length):
    config = contract.config_of("moco", queue=asked).ready(Before([range(pictures)], None, None, None, 0, None))
    assert config.queue == length and config.ready(None) is config
    assert len(moco.MoCo(config, contract.build(["moco"]).backbone).queue) == length


def test_mocos_teacher_takes_statistics_of_its_batches_unless_it_is_to_follow_the_running_ones():
    """The mean of what it says is 0 by the last norm; its own running statistics move, or those of the student."""
    own, followed = (contract.build(["moco"], moco={"follows_statistics": on}).train() for on in (False, True))
    for objective in (own, followed):
        objective(contract.batch_of(objective, contract.samples(6, of="moco")))
        objective.after_step(0.5)
    norms = [one.parts["moco"].teacher.copies[1][-1] for one in (own, followed)]
    student = followed.parts["moco"].projector[-1]
    assert own.parts["moco"].teacher.training and not followed.parts["moco"].teacher.training
    assert (norms[0].running_mean != 0).any()
    torch.testing.assert_close(norms[1].running_mean, 0.9 * student.running_mean)  # the first momentum is 0.1


def stepped(name: str, **settings):
    """An objective after a forward pass and what comes after the step."""
    objective = contract.build([name], **settings)
    batch = contract.batch_of(objective, contract.samples(4, of=name))
    objective(batch)
    part = objective.parts[name]
    fresh = list(part.fresh)
    objective.after_step(0.5)
    return part, fresh


def test_moco_queues_what_the_teacher_saw():
    part, fresh = stepped("moco", moco={"queue": 16})
    torch.testing.assert_close(part.queue[12:16], fresh[0].values)  # after twelve that were there before
    assert part.owners[12:].tolist() == fresh[0].owners.tolist()
    assert part.fresh == [] and (part.filled.item(), part.place.item()) == (16, 0)


def test_dinos_centre_is_a_moving_average_of_what_the_teacher_said():
    part, fresh = stepped("dino")
    assert fresh[0][-1] == 8  # two large views of four pictures
    first = fresh[0][:-1] / 8
    torch.testing.assert_close(part.centre, first)  # which it begins with
    part.fresh = [torch.cat([8 * (first + 1), torch.tensor([8.0], dtype=torch.float64)])]
    part.after_step(1.0)
    torch.testing.assert_close(part.centre, first + 0.1)


def test_dinos_running_statistics_are_those_of_large_views():
    """With small views and without them, after a step."""
    two, none = (contract.build(["dino"], shape="resnet", dino={"local": local}) for local in (2, 0))
    batch = contract.batch_of(two, contract.samples(4, of="dino"))
    for objective in (two, none):
        objective(Batch({**batch, "views": batch["views"][:, : 2 + objective.configs[0].local]}, counts=batch.counts))
    assert any("running" in name and (value != 0).any() for name, value in contract.buffers(none).items())
    torch.testing.assert_close(contract.buffers(two), contract.buffers(none), rtol=0, atol=0)


def test_dinos_head_has_batch_norm_where_the_net_has():
    """Then as lightly's for CIFAR-10: two maps, the first without bias."""
    convolutions, patches = (contract.build(["dino"], shape=shape).parts["dino"].head for shape in ("resnet", "vit"))
    assert [type(part).__name__ for part in convolutions.map] == ["Linear", "BatchNorm", "GELU", "Linear"]
    assert convolutions.map[0].bias is None and convolutions.map[3].bias is not None
    assert [type(part).__name__ for part in patches.map] == ["Linear", "GELU", "Linear", "GELU", "Linear"]
    pooled, head = torch.randn(9, convolutions.map[0].in_features, dtype=torch.float64), convolutions.train()
    hidden = pooled @ head.map[0].weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    unit = torch.nn.functional.normalize(head.map[3](torch.nn.functional.gelu(hidden)), dim=-1)
    directions = torch.nn.functional.normalize(head.last.weight, dim=-1)
    torch.testing.assert_close(head(pooled), unit @ directions.T)
