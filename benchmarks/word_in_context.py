"""The word-in-context score of models, beside their untrained shape and their word embedding alone.

    python benchmarks/word_in_context.py runs/wiki-60m [MODEL …] --words ud_ewt/test.conllu.gz

At least 1,000 balanced pairs of one word form in two sentences; "same" = the same UPOS; chance is 50 %. Layer and
threshold are chosen on one half of the word forms and tested on the other (firth/evaluate/word_in_context.py).
Intervals: 95 %, by the bootstrap over word forms.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

WORDS = "text/ud_ewt/test.conllu.gz"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--words", type=Path, help=f"tagged sentences; default: {WORDS} of FIRTH_DATA")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def tagged(path: Path) -> list[tuple[list[str], list[str]]]:
    """(words, UPOS) of each sentence."""
    from firth.data.readers import expand, read

    return [(row.fields["words"], row.fields["upos"]) for row in read(expand([str(path)]), rows=True)]


def scored(models: list[Path], rows, pairs: int) -> list[dict[str, Any]]:
    from firth.evaluate.word_in_context import word_in_context

    return [word_in_context(model, rows, pairs).as_dict() for model in models]


HEAD = "| model | vectors | pairs right, 95 % | layers chosen | by layer |\n|---|---|---|---|---|"


def lines(found: dict[str, Any]) -> list[str]:
    """A line for each kind of vectors."""
    name = Path(found["model"]).name
    return [
        f"| {name} | {kind} | {100 * one['accuracy']:.1f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f}) | "
        f"{', '.join(str(half[0]) for half in one['chosen'])} | "
        f"{' '.join(f'{100 * share:.1f}' for share in one['layers'])} |"
        for kind, one in found["scores"].items()
    ]


def main() -> None:
    given = options()
    words = given.words or Path(os.environ.get("FIRTH_DATA", "data")) / WORDS
    found = scored(given.models, tagged(words), given.pairs)
    if given.json:
        return print(json.dumps(found))
    print(f"{found[0]['pairs']:,} pairs of {found[0]['forms']:,} word forms\n\n{HEAD}")
    print("\n".join(line for one in found for line in lines(one)))


if __name__ == "__main__":
    main()
