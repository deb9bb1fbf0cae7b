"""Any recipe survives its file; a plan does what arithmetic says; a budget reads as it was written."""

import string
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from firth.data.config import Data
from firth.errors import InputError
from firth.recipe import Model, Optimizer, Recipe, Train, apply_settings, filled, load_toml, plain, to_toml, with_table
from firth.train import budget, plan
from firth.train.budget import Budget
from firth.train.plan import Measured

QUICK = settings(max_examples=80, deadline=None)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
WHOLE = st.integers(1, 10**9)
RATE = st.floats(1e-12, 1e3, allow_nan=False)
SHARE = st.floats(0, 1, exclude_max=True)


def optional(strategy):
    return st.none() | strategy


DATA = st.builds(
    Data,
    paths=st.lists(NAMES, max_size=3).map(tuple),
    text=optional(NAMES),
    label=optional(NAMES),
    valid=st.lists(NAMES, max_size=2).map(tuple),
    document=st.sampled_from(["auto", "file", "block", "line"]),
    held_out=st.floats(0.001, 0.89),
    duplicates=st.sampled_from(["drop", "keep"]),
    skip_bad=st.booleans(),
    labels=optional(WHOLE),
)
MODEL = st.builds(
    Model,
    shape=st.sampled_from(["bert", "modernbert"]),
    size=optional(NAMES),
    layers=optional(WHOLE),
    dropout=optional(SHARE),
    source=optional(NAMES),
    start=NAMES,
)
OPTIMIZER = st.builds(
    Optimizer, name=st.sampled_from(["adamw", "muon"]), lr=optional(RATE), betas=st.tuples(SHARE, SHARE), epsilon=RATE
)
TRAIN = st.builds(
    Train,
    budget=optional(NAMES),
    steps=optional(WHOLE),
    batch=optional(WHOLE),
    schedule=st.sampled_from(["wsd", "cosine", "linear", "constant"]),
    warmup=st.floats(0, 1),
    precision=st.sampled_from(["auto", "fp32", "bf16", "fp64"]),
    evaluate_samples=WHOLE,
)
MASKED = st.fixed_dictionaries(
    {}, optional={"mask_rate": st.floats(0.01, 0.9), "unit": st.sampled_from(["token", "word", "span"])}
)
RECIPES = st.builds(
    Recipe,
    objective=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**63 - 1),
    data=DATA,
    model=MODEL,
    optimizer=OPTIMIZER,
    train=TRAIN,
)


# ------------------------------------------------------------------ recipes


@QUICK
@given(RECIPES, MASKED)
def test_any_recipe_survives_its_file(tmp_path_factory, recipe, table):
    recipe = with_table(recipe, "masked_tokens", table) if table else recipe
    path = tmp_path_factory.mktemp("recipe") / "config.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    assert load_toml(path) == recipe
    assert to_toml(load_toml(path)) == to_toml(recipe)


@QUICK
@given(RECIPES)
def test_every_value_can_be_set_by_its_key(recipe):
    tree = recipe.model_dump(exclude={"tables"})
    keys = {k: v for k, v in tree.items() if not isinstance(v, dict)}
    keys |= {f"{t}.{k}": v for t, table in tree.items() if isinstance(table, dict) for k, v in table.items()}
    assert apply_settings(Recipe(), keys) == recipe


@QUICK
@given(RECIPES)
def test_setting_nothing_changes_nothing(recipe):
    assert apply_settings(recipe, {}) == recipe == filled(recipe)


@given(st.text(string.ascii_lowercase + "._", min_size=1, max_size=14))
@QUICK
def test_an_unknown_key_is_an_input_error_and_nothing_else(key):
    known = {*Recipe.model_fields, *(f"train.{name}" for name in Train.model_fields)}
    assume(key not in known and "=" not in key)
    with pytest.raises(InputError):
        apply_settings(Recipe(), {key: object()})


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("train.batch=0", "`train.batch` cannot be `0`"),
        ("train.batch=two", "`train.batch` cannot be `two`"),
        ("train.precision=fp8", "`train.precision` cannot be `fp8`"),
        ("optimizer.betas=0.9,1.0", "`optimizer.betas` cannot be `0.9,1.0`"),
        ("data.held_out=0.95", "`data.held_out` cannot be `0.95`"),
        ("optimizer.lr=nan", "`optimizer.lr` cannot be `nan`"),
        ("model.dropout=1", "`model.dropout` cannot be `1`"),
        ("seed=-3", "`seed` cannot be `-3`"),
    ],
)
def test_values_out_of_their_limits(setting, what):
    with pytest.raises(InputError) as caught:
        apply_settings(Recipe(), [setting])
    assert caught.value.what == what and caught.value.do


@pytest.mark.parametrize(
    ("setting", "value"),
    [("train.steps=none", None), ("optimizer.lr=3e-4", 3e-4), ("data.paths=a.txt,b.txt", ("a.txt", "b.txt"))],
)
def test_settings_are_read_as_they_are_typed(setting, value):
    recipe = apply_settings(Recipe(), [setting])
    table, _, name = setting.partition("=")[0].partition(".")
    assert getattr(getattr(recipe, table), name) == value


def test_a_table_is_plain_whatever_it_was():
    assert plain(Train(steps=3))["steps"] == 3
    assert plain({"a": (1, 2)}) == {"a": (1, 2)}


# ------------------------------------------------------------------ budgets

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@given(st.integers(1, 10**6), st.sampled_from(sorted(UNITS)))
def test_times_are_seconds(amount, unit):
    assert budget.parse(f"{amount}{unit}") == Budget("seconds", amount * UNITS[unit])
    assert budget.parse(f" {amount} {unit} ") == Budget("seconds", amount * UNITS[unit])


@given(st.integers(1, 10**5), st.sampled_from(["", "k", "M", "G"]), st.sampled_from(["step", "epoch", "token"]))
def test_amounts_are_units(amount, factor, unit):
    expected = Budget(f"{unit}s", amount * budget.FACTORS[factor])
    assert budget.parse(f"{amount}{factor}{unit}") == budget.parse(f"{amount}{factor}{unit}s") == expected


@pytest.mark.parametrize("text", ["1000000Gsteps", "1000000000000000s", "99999999999999h", "0steps", "3 k s"])
def test_slips_of_the_keyboard_are_no_budget(text):
    with pytest.raises(InputError):
        budget.parse(text)


@given(st.text(max_size=8))
def test_any_text_is_a_budget_or_an_input_error(text):
    try:
        found = budget.parse(text)
    except InputError as error:
        assert error.where == f"--budget {text}"
    else:
        assert found.amount > 0


# ------------------------------------------------------------------ plans

MEASURED = Measured(0.1, 2016.0, 1.0, 0.5, 60_000_000, 10**9, 30)
PARTS = st.builds(
    Measured,
    st.floats(1e-3, 1),
    st.floats(10, 1e5),
    st.floats(0, 2),
    st.floats(0, 2),
    st.integers(0, 10**9),
    st.integers(0, 10**10),
    st.just(30),
)


def made(kind: str, amount: float, measured: Measured = MEASURED, spent: float = 3.0) -> plan.Plan:
    return plan.make(Recipe(), Budget(kind, amount), measured, spent, steps_per_epoch=100)


@given(PARTS, st.floats(60, 1e5), st.floats(1, 3))
def test_more_time_never_means_fewer_steps(measured, seconds, factor):
    less, _ = plan.steps_in(seconds, measured)
    more, _ = plan.steps_in(seconds * factor, measured)
    slack = (plan.EVALUATIONS * measured.evaluation_seconds) / measured.step_seconds  # evaluations come in wholes
    assert more >= less - slack - 1


@given(PARTS, st.floats(1, 1000), st.floats(1, 10))
def test_a_faster_machine_does_more(measured, seconds, factor):
    fast = replace(measured, step_seconds=measured.step_seconds / factor)
    assert plan.steps_in(seconds, fast)[0] >= plan.steps_in(seconds, measured)[0]


@given(st.integers(1, 10**6), PARTS)
def test_steps_asked_for_are_steps_done(steps, measured):
    found = made("steps", steps, measured)
    assert found.steps == steps and 1 <= found.checkpoint_every <= max(steps, 1)
    assert 1 <= found.evaluate_every <= steps
    assert found.tokens == round(steps * measured.tokens_per_step)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_more_steps_take_more_of_everything(one, other):
    less, more = (made("steps", amount) for amount in sorted((one, other)))
    assert less.seconds <= more.seconds and less.tokens <= more.tokens and less.epochs <= more.epochs
    assert less.disk == more.disk


@given(st.integers(1, 10**4), st.integers(1, 500), st.integers(1, 500))
def test_training_time_is_the_sum_of_its_parts(steps, evaluate_every, checkpoint_every):
    evaluations = 1 + sum(step % evaluate_every == 0 for step in range(1, steps))
    checkpoints = sum(step % checkpoint_every == 0 for step in range(1, steps))
    expected = steps * 0.1 + evaluations * 1.0 + checkpoints * 0.5
    assert plan.training_seconds(steps, evaluate_every, checkpoint_every, MEASURED) == pytest.approx(expected)


@given(st.floats(0, 1e5))
def test_the_plan_counts_what_was_spent(spent):
    assert made("steps", 100, spent=spent).seconds == pytest.approx(made("steps", 100, spent=0).seconds + spent)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_time_never_gets_a_smaller_model(one, other):
    from firth.model.sizes import parse_size

    less, more = (parse_size(plan.defaults(seconds)["model.size"]) for seconds in sorted((one, other)))
    assert less[0] <= more[0] and less[1] <= more[1]


@given(st.integers(1, 10**5), st.integers(1, 32), st.integers(1, 24), st.integers(16, 10**5))
def test_the_lower_bound_of_memory_grows_with_everything(steps, heads, layers, vocabulary):
    from firth.model.sizes import shape_of

    def least(steps, heads, layers, vocabulary):
        shape = shape_of("bert", f"{layers}x{64 * heads}", vocabulary)
        return plan.training_memory(shape.weights, shape.activations(steps))

    given_ = [steps, heads, layers, vocabulary]
    for place in range(4):
        larger = [2 * value if i == place else value for i, value in enumerate(given_)]
        assert least(*larger) >= least(*given_)


def test_a_plan_is_written_into_the_recipe():
    found = made("steps", 500)
    train = plan.with_plan(Recipe(), found).train
    wanted = (500, found.evaluate_every, found.checkpoint_every)
    assert (train.steps, train.evaluate_every, train.checkpoint_every) == wanted


def test_the_shortest_budget_named_is_enough():
    with pytest.raises(InputError) as caught:
        made("seconds", 5.0)
    amount = float(caught.value.do.split("--budget ")[1].removesuffix("s."))
    assert made("seconds", amount).steps >= plan.FEWEST
