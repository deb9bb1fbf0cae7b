"""Names are file names; what is not there gets a near name."""

import pytest

from firth import find
from firth.errors import FirthError, InputError, Interrupted, RunError, did_you_mean
from firth.objective import Objective
from tests.house import PACKAGE

KINDS = ("objectives", "signals", "starts", "tasks")


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_a_name_and_every_name_a_module(kind):
    files = [p.stem for p in (PACKAGE / kind).glob("[a-z]*.py")]
    assert sorted(name.replace("-", "_") for name in find.names(kind)) == sorted(files)
    for name in find.names(kind):
        assert find.find(kind, name).__name__ == f"firth.{kind}.{name.replace('-', '_')}"


def test_dashes_and_underscores_are_the_same():
    assert find.find("objectives", "masked_tokens") is find.find("objectives", "masked-tokens")


def test_a_misspelt_name_is_answered_with_a_near_one():
    with pytest.raises(InputError) as caught:
        find.find("objectives", "masked-token")
    assert str(caught.value).startswith(
        "objectives `masked-token`: no such name. Did you mean `masked-tokens`? There is: "
    )


def test_a_strange_name_is_answered_with_the_list():
    with pytest.raises(InputError) as caught:
        find.find("signals", "zzz")
    assert str(caught.value) == "signals `zzz`: no such name. There is: image, speech, text."


@pytest.mark.parametrize("name", ["../cli", "os", "__init__", ""])
def test_only_files_of_the_kind_can_be_named(name):
    with pytest.raises(InputError):
        find.find("objectives", name)


def test_main_class_wants_exactly_one():
    assert issubclass(find.main_class(find.find("objectives", "masked-tokens"), Objective), Objective)
    with pytest.raises(TypeError, match=r"firth.errors: 0 subclasses of Objective are defined, one is expected."):
        find.main_class(__import__("firth.errors", fromlist=["x"]), Objective)


def test_errors_have_three_parts_and_their_exit_codes():
    error = InputError("reviews.tsv:1042:17", "label `postive` is none of negative, positive.", "Correct it.")
    assert str(error) == "reviews.tsv:1042:17: label `postive` is none of negative, positive. Correct it."
    assert (error.where, error.do) == ("reviews.tsv:1042:17", "Correct it.")
    codes = {InputError: 2, RunError: 1, Interrupted: 130, FirthError: 1}
    assert {kind: kind("a", "b", "c").exit_code for kind in codes} == codes


def test_did_you_mean_is_silent_where_nothing_is_near():
    assert did_you_mean("lable", ["label", "text"]) == "Did you mean `label`? "
    assert did_you_mean("qqq", ["label", "text"]) == ""
