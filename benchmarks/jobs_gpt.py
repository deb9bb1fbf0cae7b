"""Next tokens: an hour on Wikipedia and what it knows without labels, and learning in context on made-up functions."""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, MEASURING, ONE, Job, firth, settings

TEMPLATE = "Review: {text}\\nSentiment: {label}"
SHOTS = "0,1,4,16"
SEEDS = range(3)
EPISODES = ("text.tokenizer=characters", "text.context=240", "model.heads=8")


def jobs(data: Path, kept: Path) -> list[Job]:
    return [*wiki(data / "text", kept), *in_context(kept)]


def wiki(text: Path, kept: Path) -> list[Job]:
    """One base with room for sixteen examples in its context; 60 min, one seed. Its test files are read once.

    Then about 3 min of held-out articles, 5 min of BLiMP, 15 min of prompts, 15 min of adapting it and the hour of
    masked tokens to the same labels.
    """
    base, sst2 = kept / "gpt-60m", text / "sst2"
    given = ["--objective", "next-token", "--budget", "60m", *settings("text.context=1024")]
    made = Job("gpt-60m", firth("pretrain", text / "wiki_en" / "train.jsonl.gz", *given, "--out", base))
    asked = {
        "likelihood": [text / "wiki_en" / "valid.jsonl.gz"],
        "minimal-pairs": [text / "blimp" / "blimp.zip"],
        "prompt": [sst2 / "dev.tsv.gz", "--examples", sst2 / "train.tsv.gz", "--shots", SHOTS, "--template", TEMPLATE,
                   *settings("prompt.words={'0' = 'negative', '1' = 'positive'}")],
    }  # fmt: skip
    measured = [Job(f"gpt-{task}", firth("measure", base, *words, "--task", task), MEASURING)
                for task, words in asked.items()]  # fmt: skip
    both = firth("compare", kept / "wiki-60m", base, sst2 / "train.tsv.gz", "--task", "classify", "--test",
                 sst2 / "dev.tsv.gz", "--labels", "200,1000", "--seeds", 3, "--jobs", 2, "--arms",
                 "random,pretrained,tf-idf", "--out", kept / "bert-and-gpt")  # fmt: skip
    return [made, *measured, Job("bert-and-gpt", both, (*ADAPTING, *COMPARING))]


def in_context(kept: Path) -> list[Job]:
    """15 minutes of one core on `synthetic:icl`, three seeds, and an untrained model; then each asked at length."""
    runs = [*((f"icl-{n}", "15m", n) for n in SEEDS), ("icl-untrained", "1steps", 0)]
    given = ["synthetic:icl", "--objective", "next-token", "--size", "3x128", *settings(*EPISODES), *ONE]
    made = [Job(name, firth("pretrain", *given, "--budget", budget, "--seed", seed, "--out", kept / name), cores=1)
            for name, budget, seed in runs]  # fmt: skip
    asked = [Job(f"{name}-asked", firth("measure", kept / name, "synthetic:icl", "--task", "in-context"), MEASURING,
                 cores=1, after=(name,)) for name, _, _ in runs]  # fmt: skip
    return [*made, *asked]
