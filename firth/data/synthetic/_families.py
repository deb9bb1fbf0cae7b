"""Families of hidden functions from words to words, vectorised over many members at once.

A word is LENGTH different letters of LETTERS, as numbers. A member of a family, one function, is a row of integers. A
fifth of the members of each family, by their hash, is held out: no training episode is made of them.
"""

from typing import ClassVar

import numpy as np

from firth.functional.random import combine, hash_bytes

# B members or episodes, N words of each, L = LENGTH, A = letters, P integers of a member

LETTERS = "abcdefghijklmnop"
LENGTH = 4  # letters of a word
ROWS = 8  # of a look-up table
NEAR = 8  # uniform numbers that a step to a neighbour is drawn from
HELD_OUT = 0.2  # share of the members of a family that training never sees


class Family:
    """A kind of function. needs: uniform numbers that one member is drawn from."""

    name: ClassVar[str]
    kind: ClassVar[str]  # in the words of the literature
    needs: ClassVar[int] = len(LETTERS)

    def member(self, u: np.ndarray) -> np.ndarray:
        """uniforms (B, needs) → members (B, P)."""
        raise NotImplementedError

    def near(self, members: np.ndarray, u: np.ndarray) -> np.ndarray:
        """members (B, P), uniforms (B, NEAR) → other members (B, P) that differ in little; the step goes back, too."""
        raise NotImplementedError

    def apply(self, members: np.ndarray, words: np.ndarray) -> np.ndarray:
        """members (B, P), words (B, N, L) → what they are turned into (B, N, L)."""
        raise NotImplementedError

    def words(self, members: np.ndarray, u: np.ndarray) -> np.ndarray:
        """uniforms (B, N, A) → inputs (B, N, L)."""
        return words_of(u)

    def held_out(self, members: np.ndarray) -> np.ndarray:
        """members (B, P) → bool (B,), the same on every machine and for every seed."""
        marks = combine(np.arange(members.shape[1]), members).sum(1)  # modulo 2^64
        return combine(hash_bytes(self.name.encode()), marks) < np.uint64(HELD_OUT * 2.0**64)


class Lookup(Family):
    """A table of words and as many values, without a rule: who has seen the row can copy it. Some tables are short: the
    fewer rows, the plainer that a line comes again, which is where copying what was matched is learnt first."""

    name, kind, needs = "lookup", "look-ups", 2 * ROWS * len(LETTERS) + 1

    def member(self, u):
        """(B, P): keys and values of ROWS rows, and how many of the rows are asked for."""
        both = words_of(u[:, :-1].reshape(len(u), 2 * ROWS, -1)).reshape(len(u), -1)
        return np.concatenate([both, 2 + below(u[:, -1:], ROWS - 1)], 1)

    def near(self, members, u):
        """The same keys and values, dealt out anew."""
        keys, values = self.table(members)
        dealt = np.take_along_axis(values, u[:, :ROWS].argsort(1)[..., None], 1)
        return np.concatenate([np.stack([keys, dealt], 1).reshape(len(members), -1), members[:, -1:]], 1)

    def apply(self, members, words):
        keys, values = self.table(members)
        row = (words[:, :, None] == keys[:, None]).all(3).argmax(2)  # (B, N)
        return np.take_along_axis(values, row[..., None], 1)

    def words(self, members, u):
        return np.take_along_axis(self.table(members)[0], below(u[..., :1], members[:, None, -1:]), 1)

    def table(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, P) → keys and values, (B, ROWS, L) each."""
        both = members[:, :-1].reshape(len(members), 2, ROWS, LENGTH)
        return both[:, 0], both[:, 1]


class Translate(Family):
    """A made-up code: every letter stands for another one. Some languages have few letters, which come often."""

    name, kind, needs = "translate", "translations", 2 * len(LETTERS) + 1

    def member(self, u):
        """(B, P): what each letter stands for, its place among the letters of the language, and how many it has."""
        code, order = (u[:, part : part + len(LETTERS)].argsort(1) for part in (0, len(LETTERS)))
        return np.concatenate([code, order, LENGTH + below(u[:, -1:], len(LETTERS) + 1 - LENGTH)], 1)

    def near(self, members, u):
        """Two letters stand for each other's."""
        code, rest = np.split(members, [len(LETTERS)], 1)
        return np.concatenate([exchanged(code, u), rest], 1)

    def apply(self, members, words):
        return np.take_along_axis(members[:, None, : len(LETTERS)], words, 2)

    def words(self, members, u):
        absent = members[:, len(LETTERS) : -1] >= members[:, -1:]
        return words_of(u + absent[:, None])


class Rearrange(Family):
    """Each letter that comes out is the letter at one place of what goes in; a place may be used twice or never."""

    name, kind, needs = "rearrange", "functions", LENGTH

    def member(self, u):
        return below(u, LENGTH)

    def near(self, members, u):
        return redrawn(members, below(u[:, 0], LENGTH), below(u[:, 1], LENGTH))

    def apply(self, members, words):
        return np.take_along_axis(words, members[:, None], 2)


class Fill(Family):
    """A pattern of four slots: two hold a fixed letter, two the letter at some place of what goes in."""

    name, kind, needs = "fill", "patterns", 4 * LENGTH

    def member(self, u):
        """(B, LENGTH): below LENGTH a place, from LENGTH on a letter."""
        places, order, letters, _ = np.moveaxis(u.reshape(len(u), 4, LENGTH), 1, 0)
        fixed = order.argsort(1) < LENGTH // 2
        return np.where(fixed, LENGTH + below(letters, len(LETTERS)), below(places, LENGTH))

    def near(self, members, u):
        """One slot takes another place; the letters stay, so that seeing them is not enough."""
        slot = np.where(members < LENGTH, u[:, :LENGTH], -1).argmax(1)
        return redrawn(members, slot, below(u[:, LENGTH], LENGTH))

    def apply(self, members, words):
        letters = np.broadcast_to(np.arange(len(LETTERS)), (*words.shape[:2], len(LETTERS)))
        return np.take_along_axis(np.concatenate([words, letters], 2), members[:, None], 2)


class Affine(Family):
    """y = a x + b modulo the number of letters, a odd: a code with a rule behind it."""

    name, kind, needs = "affine", "functions", 2

    def member(self, u):
        return np.stack([2 * below(u[:, 0], len(LETTERS) // 2) + 1, below(u[:, 1], len(LETTERS))], 1)

    def near(self, members, u):
        """The factor or the summand anew."""
        other, first = self.member(np.stack([2 * u[:, 0] % 1, u[:, 1]], 1)), u[:, :1] < 0.5
        return np.where(np.concatenate([first, ~first], 1), other, members)

    def apply(self, members, words):
        return (members[:, None, :1] * words + members[:, None, 1:]) % len(LETTERS)


class Cipher(Family):
    """The letters change places, all of them, and each stands for another one: two trained kinds in a row."""

    name, kind, needs = "cipher", "functions", LENGTH + len(LETTERS)

    def member(self, u):
        return np.concatenate([u[:, :LENGTH].argsort(1), u[:, LENGTH:].argsort(1)], 1)

    def near(self, members, u):
        order, code = members[:, :LENGTH], members[:, LENGTH:]
        moved = np.where(u[:, 2:3] < 0.5, exchanged(order, u), order)
        recoded = np.where(u[:, 2:3] < 0.5, code, exchanged(code, u))
        return np.concatenate([moved, recoded], 1)

    def apply(self, members, words):
        moved = np.take_along_axis(words, members[:, None, :LENGTH], 2)
        return np.take_along_axis(members[:, None, LENGTH:], moved, 2)


class Sort(Family):
    """The letters in the order of an unknown alphabet."""

    name, kind = "sort", "functions"

    def member(self, u):
        return u.argsort(1)

    def near(self, members, u):
        return exchanged(members, u)

    def apply(self, members, words):
        ranks = np.take_along_axis(members[:, None], words, 2)
        return np.take_along_axis(words, ranks.argsort(2), 2)


TRAINED: tuple[Family, ...] = (Lookup(), Translate(), Rearrange(), Fill())
UNTRAINED: tuple[Family, ...] = (Affine(), Cipher(), Sort())


def words_of(u: np.ndarray) -> np.ndarray:
    """uniforms (…, A) → (…, L) different letters."""
    return u.argsort(-1)[..., :LENGTH]


def below(u: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """uniforms → whole numbers in [0, limit)."""
    return (u * limit).astype(np.int64)


def exchanged(members: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(B, P), uniforms (B, 2 or more) → two different columns of each row exchanged."""
    rows, size = np.arange(len(members)), members.shape[1]
    one = below(u[:, 0], size)
    other = (one + 1 + below(u[:, 1], size - 1)) % size
    changed = members.copy()
    changed[rows, one], changed[rows, other] = members[rows, other], members[rows, one]
    return changed


def redrawn(members: np.ndarray, column: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(B, P), (B,), (B,) → one column of each row set to a value."""
    changed = members.copy()
    changed[np.arange(len(members)), column] = value
    return changed
