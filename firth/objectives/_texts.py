"""What objectives over texts say of the data."""

from firth.signal import Finding, Sample

SHORT = 8  # tokens, or words; below this there is little to guess from


def short_texts(name: str, samples: list[Sample]) -> list[Finding]:
    """A warning of the objective `name` where more than half of the samples are short."""
    short = sum(sum(len(part) for part in sample.parts) < SHORT for sample in samples)
    if 2 * short <= len(samples):
        return []
    what = f"{short:,} of {len(samples):,} samples have fewer than {SHORT} tokens: little to guess from"
    return [Finding("warning", name, what, "Join short texts, for instance with `--document block`.")]
