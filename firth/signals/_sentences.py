"""Where sentences begin, decided from neighbouring chunks of text (a run of white space and the word after it).

A sentence begins after a newline, or after a chunk that ends in . ! ? … if the next one does not begin in lower case.
Abbreviations and initials ("Dr.", "J.") end no sentence.
"""

import re

OPENING, CLOSING = "\"'“‘«([{", "\"'”’»)]}"
STOPS = (".", "!", "?", "…")
WIDE_STOPS = ("。", "！", "？")  # no space and no capital follows these
LISTED = (
    "mr. mrs. ms. dr. prof. st. jr. sr. vs. etc. e.g. i.e. cf. no. vol. pp. p. fig. al. gen. col. sgt. capt. lt. gov. "
    "sen. rep. rev. hon. inc. ltd. co. corp. dept. est. approx. ca. c. jan. feb. mar. apr. jun. jul. aug. sep. sept. "
    "oct. nov. dec. u.s. u.k."
)
ABBREVIATIONS = frozenset(LISTED.split())
INITIAL = re.compile(r"^[A-Z]\.$")


def ends_sentence(chunk: str) -> bool:
    """True if a sentence may end with this chunk."""
    word = chunk.strip().rstrip(CLOSING).lstrip(OPENING)
    if not word.endswith(STOPS + WIDE_STOPS):
        return False
    return not (INITIAL.match(word) or word.lower() in ABBREVIATIONS)


def ends_surely(chunk: str) -> bool:
    """True after a full stop of East Asian writing: the next chunk begins a sentence whatever it is."""
    return chunk.rstrip(CLOSING).endswith(WIDE_STOPS)


def opens_sentence(chunk: str) -> bool:
    """True if a sentence may begin with this chunk: no lower-case letter first."""
    word = chunk.strip().lstrip(OPENING)
    return bool(word) and word[0].isalnum() and not word[0].islower()


def follows_newline(chunk: str) -> bool:
    """True if the white space before the word holds a newline."""
    return "\n" in chunk[: len(chunk) - len(chunk.lstrip())]
