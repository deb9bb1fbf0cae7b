"""company.html: the map of a word's occurrences, its groups, and what the layers do; one file that opens offline."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firth.evaluate.company import Company, Occurrence
from firth.report import facts as told
from firth.report.charts import HEIGHT, WIDTH, Line, Scale, line_chart
from firth.report.html import render
from firth.train.folder import free_place, whole_file

MARGIN = 14  # of a map, in the units of the view box
AROUND = 90  # characters shown on each side of the word when a point is touched
MAPS = 4  # layers that are drawn beside the map
LONGEST = 40  # characters of a word in the name of its page


def write_company(result: Company, path: str | Path) -> Path:
    """The page of a word's company, written to `path`; `path` may be a folder, which gets company.html and
    company.json. Raises InputError, RunError for a place that takes no file."""
    path = Path(path)
    if path.is_dir():
        result.save(path / "company.json")
        path = path / "company.html"
    with whole_file(path) as file:
        file.write(render("company.html", content(result)))
    return path


def free_page(path: str | Path) -> Path:
    """The place itself. Raises InputError where the page, or the numbers beside it in a folder, are there already."""
    path = Path(path)
    if not path.is_dir():
        return free_place(path, streams=True)
    for name in ("company.html", "company.json"):
        free_place(path / name)
    return path


def page_of(word: str) -> Path:
    """company-<word>.html, for any word: what a file cannot be called becomes _."""
    name = re.sub(r"[^\w.-]+", "_", word)[:LONGEST]
    return Path(f"company-{name}.html")


def content(company: Company) -> dict[str, Any]:
    """Everything templates/company.html asks for."""
    used, last = len(company.occurrences), len(company.layers) - 1
    return {
        "title": f"The company of “{company.word}”",
        "eyebrow": f"{company.word} · {used:,} of {company.seen:,} occurrences · {company.model}",
        "tone": "good" if company.clear else "open",
        "verdict": company.headline.replace("`", "“", 1).replace("`", "”", 1),
        "sentences": sentences(company),
        "main": scatter(company, company.layer),
        "groups": [group(company, number) for number in range(len(company.groups))],
        "charts": charts(company),
        "maps": [scatter(company, layer) for layer in drawn(last, company.layer)],
        "nearest": nearest(company),
        "fact_lists": fact_lists(company),
    }


def sentences(company: Company) -> list[str]:
    """How sure the groups are, and what the layers do."""
    compared = "above" if company.clear else "not above"
    first, last = company.layers[0], company.layers[-1]
    return [
        f"The groups have a silhouette of {company.silhouette:.2f}, {compared} the {company.by_chance:.2f} that a "
        "cloud of the same spread without groups reaches in 1 of 20 draws.",
        f"Two occurrences have a mean cosine of {first.self_similarity:.2f} at the embedding and of "
        f"{last.self_similarity:.2f} at the last layer; less what any two words have in common, "
        f"{first.corrected:.2f} and {last.corrected:.2f}.",
    ]


def scatter(company: Company, layer: int) -> dict[str, Any]:
    """A point for each occurrence on the first two principal axes of a layer."""
    points = [one.points[layer] for one in company.occurrences]
    across = placed([x for x, _ in points], MARGIN, WIDTH - MARGIN)
    up = placed([y for _, y in points], HEIGHT - MARGIN, MARGIN)
    dots = [
        {"x": across(x), "y": up(y), "style": one.group, "tip": window(one), "name": f"group {one.group + 1}"}
        for one, (x, y) in zip(company.occurrences, points, strict=True)
    ]
    return {
        "title": layer_name(company, layer),
        "width": WIDTH,
        "height": HEIGHT,
        "dots": dots,
        "about": about(company, layer, points),
        "legend": [(number, f"group {number + 1}: {one.size:,}") for number, one in enumerate(company.groups)],
    }


def placed(values: Sequence[float], begin: float, end: float) -> Scale:
    return Scale(min(values), max(values), begin, end)


def about(company: Company, layer: int, points: Sequence[tuple[float, float]]) -> str:
    """The map in words: where the middle of each group lies, in shares of the width and height."""
    across, up = (placed([point[axis] for point in points], 0, 100) for axis in (0, 1))
    parts = []
    for number, one in enumerate(company.groups):
        own = [p for p, o in zip(points, company.occurrences, strict=True) if o.group == number]
        x, y = (sum(scale(p[axis]) for p in own) / len(own) for axis, scale in ((0, across), (1, up)))
        parts.append(f"Group {number + 1}, {one.size:,} points, lies around {x:.0f} % from the left, {y:.0f} % up.")
    return f"Map of {len(points):,} occurrences, {layer_name(company, layer)}. " + " ".join(parts)


def group(company: Company, number: int) -> dict[str, Any]:
    """Typical words with their counts, and the most central sentences."""
    found = company.groups[number]
    rows = [
        [one["word"], f"{one['here']:,} of {found.size:,}", f"{one['elsewhere']:,}", f"{one['log_odds']:.1f}"]
        for one in found.words
    ]
    return {
        "title": f"Group {number + 1}: {found.size:,} occurrences",
        "style": number,
        "words": ", ".join(one["word"] for one in found.words) or "No word is typical of it.",
        "table": {"head": ["word", "stands near, here", "elsewhere", "log-odds"], "rows": rows},
        "examples": [pieces(company.occurrences[i]) for i in found.examples],
    }


def charts(company: Company) -> list[dict[str, Any]]:
    """Curves over layers: similarity, movement, agreement."""
    layers, steps = company.layers, list(range(len(company.layers)))
    word = f"of “{company.word}”"
    alike = [
        Line(f"two occurrences {word}", 2, steps, [one.self_similarity for one in layers]),
        Line("any two words", 0, steps, [one.anisotropy for one in layers]),
        Line("the difference", 1, steps, [one.corrected for one in layers]),
    ]
    moved = [
        Line("to the embedding", 2, steps, [one.to_first for one in layers]),
        Line("to the layer before", 1, steps[1:], [one.to_previous or 0.0 for one in layers[1:]]),
    ]
    agreement = [Line("nearest of the same group", 2, steps, [one.agreement for one in layers])]
    return [
        line_chart(alike, "How alike its vectors are", "layer", "mean cosine"),
        line_chart(moved, "How far its vectors move", "layer", "mean cosine"),
        line_chart(agreement, "Do near ones belong together?", "layer", "share", percent=True),
    ]


def nearest(company: Company) -> list[dict[str, Any]]:
    """For the most central sentence of each group: which is nearest to it at the embedding, half-way, and the end."""
    layers = drawn(len(company.layers) - 1, company.layer)
    found = []
    for one in company.groups:
        centre = company.occurrences[one.examples[0]]
        rows = [(layer_name(company, i), pieces(company.occurrences[centre.nearest[i][0]])) for i in layers]
        found.append({"of": pieces(centre), "rows": rows})
    return found


def drawn(last: int, chosen: int) -> list[int]:
    """The embedding, the first block, the middle, the last, and the layer that was grouped; at most MAPS."""
    wanted = [0, chosen, last, (last + 1) // 2, 1]
    return sorted(list(dict.fromkeys(min(one, last) for one in wanted))[:MAPS])


def layer_name(company: Company, layer: int) -> str:
    if layer == 0:
        return "the embedding (layer 0)"
    return f"layer {layer} of {len(company.layers) - 1}" + (", grouped here" if layer == company.layer else "")


def pieces(one: Occurrence) -> dict[str, Any]:
    """The sentence in three parts, its group, and where it stands."""
    before, word, after = one.sentence[: one.start], one.sentence[one.start : one.end], one.sentence[one.end :]
    return {"before": before, "word": word, "after": after, "group": one.group + 1, "where": one.where}


def window(one: Occurrence) -> str:
    """The sentence, or as much of it as can be read in passing."""
    first, last = max(0, one.start - AROUND), min(len(one.sentence), one.end + AROUND)
    return "… " * (first > 0) + one.sentence[first:last] + " …" * (last < len(one.sentence))


def fact_lists(company: Company) -> list[tuple[str, list[tuple[str, str]]]]:
    facts = {
        "model": company.model,
        "data": ", ".join(company.data),
        "occurrences": company.seen,
        "looked at": len(company.occurrences),
        "grouped by": f"{company.method} at {layer_name(company, company.layer).removesuffix(', grouped here')}",
        "silhouette": company.silhouette,
        "silhouette by chance": company.by_chance,
    }
    return [("What was looked at", told.pairs(facts))]
