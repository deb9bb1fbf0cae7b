"""Errors a person can act on: where it is, what it is, what to do."""

import re


class FirthError(Exception):
    """A failure with three parts; the command line prints it without a traceback.

    where: file:line:column, an option, or a place in the recipe.
    what:  what was found there, in one clause.
    do:    the repair, a full sentence or a command to type.
    """

    exit_code = 1

    def __init__(self, where: object, what: str, do: str):
        self.where, self.what, self.do = str(where), what, do
        super().__init__(f"{self.where}: {what.rstrip('.')}. {do}")

    def without_skipping(self) -> "FirthError":
        """The same without the advice to say --skip-bad."""
        return type(self)(self.where, self.what, re.sub(r"; --skip-bad [^.;]*", "", self.do))


class InputError(FirthError):
    """The person's input is at fault: files, columns, options, recipe keys."""

    exit_code = 2


class RunError(FirthError):
    """The run could not go on: full disk, loss not a number, no memory."""

    exit_code = 1


class Interrupted(FirthError):
    """Stopped by a signal after a checkpoint was written; the same command resumes."""

    exit_code = 130


def did_you_mean(name: str, names) -> str:
    """'Did you mean `x`? ' when a near name exists, else ''."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), [str(n) for n in names], n=1)
    return f"Did you mean `{near[0]}`? " if near else ""


def install(extra: str) -> str:
    """The command that brings the packages of an extra: pip install '.[data]' (in the folder of firth)"""
    return f"pip install '.[{extra}]' (in the folder of firth)"


def count(number: int, noun: str) -> str:
    """1 tag, 5,000 words"""
    return f"{number:,} {noun}" + "s" * (number != 1)
