"""Last word: would the model itself write the last word of each text? See evaluate/multiple_choice.py."""

from firth.data.files import expand
from firth.data.readers import read
from firth.evaluate.asked import Asked
from firth.evaluate.judge import Judge
from firth.evaluate.multiple_choice import LastWord, last_word

TAKES = ("text", "most")


def measured(judge: Judge, asked: Asked) -> LastWord:
    """A text is a line, or a row of a table."""
    reading = read(expand(list(asked.paths)), text=asked.text, document="line")
    return last_word(judge.score, [record.text for record in reading][: asked.most])
