"""Tables of settings in the docs, made from the fields of a Config."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

MARKS = ("<!-- settings -->\n", "\n<!-- /settings -->")


def table(name: str, fields: Mapping, keys: Iterable[str]) -> str:
    """Markdown: key, default, what it is, of these keys of the recipe table `name`."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for key in keys:
        told = fields[key].description or ""
        value = str(fields[key].get_default(call_default_factory=True)).replace("\n", r"\n")
        default = "from the data" if re.search(r"\bfilled\b", told) else f"`{value}`"
        what = told.removeprefix("filled: ").replace("; filled:", ":").removesuffix("; filled")
        kind = fields[key].annotation
        choices = f" ({', '.join(f'`{c}`' for c in get_args(kind))})" if get_origin(kind) is Literal else ""
        rows.append(f"| `{name.replace('-', '_')}.{key}` | {default} | {what}{choices} |")
    return "\n".join(rows)


def kept(page: Path, now: str) -> str:
    """What stands between the marks of a page. FIRTH_GOLDEN=write writes the table there first."""
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(MARKS[0])
    old, tail = rest.split(MARKS[1]) if MARKS[1] in rest else ("", rest.removeprefix(MARKS[1].strip()))
    if os.environ.get("FIRTH_GOLDEN") == "write":
        page.write_text(head + MARKS[0] + now + MARKS[1] + tail, encoding="utf-8")
        old = now
    return old
