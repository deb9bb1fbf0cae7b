"""Numbers as people read them: thousands separators, units, no more digits than are known."""


def count(number: float) -> str:
    """50,000 · 11.6 M · 1.2 G"""
    for limit, divisor, unit in ((1e9, 1e9, " G"), (1e6, 1e6, " M")):
        if number >= limit:
            return f"{number / divisor:.1f}{unit}" if number < 100 * divisor else f"{number / divisor:,.0f}{unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """8 s · 90 s · 19 min · 2 h 05 min"""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def size(amount: float) -> str:
    """A number of bytes: 260 MB · 1.9 GiB (memory and disk alike; MB below a GiB)."""
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{max(amount / 1e6, 1):.0f} MB"


def percent(share: float) -> str:
    """24.1 %"""
    return f"{100 * share:.1f} %"


def name(term: str) -> str:
    """masked_tokens -> masked tokens"""
    return term.replace("_", " ").replace("-", " ")
