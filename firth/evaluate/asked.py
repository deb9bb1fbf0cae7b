"""What a person may ask of a measure, beside the model and the data."""

from dataclasses import dataclass
from typing import Any

from firth.errors import InputError
from firth.recipe import Recipe


@dataclass(frozen=True)
class Asked:
    """Options that were not given are None; a measure names in TAKES those that it knows."""

    paths: tuple[str, ...]
    recipe: Recipe  # its tables and its seed
    text: str | None = None  # column of the text
    label: str | None = None  # column of the label
    shots: tuple[int, ...] | None = None  # numbers of examples
    examples: tuple[str, ...] | None = None  # labelled files that examples are drawn from
    draws: int | None = None  # of the examples, for each number of them
    most: int | None = None  # items that are scored (of minimal pairs: of each paradigm)
    stride: int | None = None  # tokens that a window is moved by

    @property
    def seed(self) -> int:
        return self.recipe.seed

    def refuse(self, task: str, takes: tuple[str, ...]) -> None:
        """Raises InputError for an option that the measure does not know, and for a number that cannot be."""
        for name in ("text", "label", "shots", "examples", "draws", "most", "stride"):
            value: Any = getattr(self, name)
            if value is not None and name not in takes:
                raise InputError(f"--{name}", f"says nothing to the task {task}", "Leave it out.")
            if isinstance(value, int) and value < 1:
                raise InputError(f"--{name} {value}", "must be 1 or more", "Leave it out for the usual value.")
        if not self.paths:
            raise InputError("DATA", "is not given", f"Name what is scored: firth measure MODEL DATA --task {task}.")
