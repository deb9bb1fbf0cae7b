"""A corpus from files: nothing lost, nothing on both sides, opened at once the second time."""

from pathlib import Path

import numpy as np
import pytest

from firth.data import corpus as module
from firth.data import pack, survey
from firth.data.corpus import Corpus, open_corpus
from firth.errors import InputError, RunError
from firth.recipe import Data
from firth.signals import text
from tests.material import documents, write_corpus, write_jsonl

CONFIG = text.Config(vocabulary=400, context=32)


def blocks(folder: Path, texts: list[str], name: str = "corpus.txt") -> str:
    (folder / name).write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return str(folder / name)


def opened(*paths, config=CONFIG, **data) -> Corpus:
    return open_corpus(Data(paths=tuple(map(str, paths)), **data), text, config)


def texts_of(corpus: Corpus, split: str) -> list[str]:
    shard = corpus.shard(split)
    return [corpus.signal.decode(shard.document(i)) for i in range(shard.documents)]


def test_every_kept_document_is_on_one_side_in_full(tmp_path):
    texts = [f"{one} {i}" for i, one in enumerate(documents(150))]
    corpus = opened(blocks(tmp_path, texts), held_out=0.2)
    train, held = texts_of(corpus, "train"), texts_of(corpus, "held_out")
    want = [corpus.signal.decode(e.ids) for e in corpus.signal.encode(texts)]
    assert sorted(train + held) == sorted(want) and not set(train) & set(held)
    assert train == [one for one in want if one in set(train)]
    assert 15 <= len(held) <= 45


def test_facts(tmp_path):
    texts = [f"{one} {i}" for i, one in enumerate(documents(100))]
    corpus = opened(path := blocks(tmp_path, texts + texts[:7]), held_out=0.2)
    facts = corpus.facts
    assert (facts["documents"], facts["exact_duplicates"], facts["unit"], facts["files"]) == (100, 7, "block", 1)
    assert facts["held_out_documents"] == corpus.shard("held_out").documents
    assert facts["tokens"] == facts["train_tokens"] + facts["held_out_tokens"]
    assert facts["words"] == 49 * 107 and facts["bytes"] == Path(path).stat().st_size
    assert facts["vocabulary"] == corpus.signal.facts.vocabulary <= corpus.signal.config.vocabulary
    assert corpus.paths == (path,) and len(corpus.fingerprint) == 32


def test_duplicates_can_be_kept(tmp_path):
    path = blocks(tmp_path, documents(60) * 2)
    assert opened(path, held_out=0.2).facts["documents"] == 60
    assert opened(path, held_out=0.2, duplicates="keep").facts["documents"] == 120


def test_copies_never_fall_on_both_sides(tmp_path):
    corpus = opened(blocks(tmp_path, documents(60) * 2), held_out=0.3, duplicates="keep")
    assert not set(texts_of(corpus, "train")) & set(texts_of(corpus, "held_out"))


def test_the_side_depends_on_the_content_only(tmp_path):
    texts = [f"{one} {i}" for i, one in enumerate(documents(80))]
    one = opened(blocks(tmp_path, texts, "one.txt"), held_out=0.2)
    two = opened(blocks(tmp_path, texts[::-1][:50], "two.txt"), held_out=0.2)
    held = set(texts_of(one, "held_out"))
    assert set(texts_of(two, "held_out")) <= held
    assert not set(texts_of(two, "train")) & held


def test_the_second_run_reads_nothing(tmp_path, monkeypatch):
    path = write_corpus(tmp_path)
    first = opened(path)
    monkeypatch.setattr(module, "_build", lambda *a: pytest.fail("was built again"))
    second = opened(path, config=CONFIG.model_copy(update={"context": 64}))
    assert second.folder == first.folder and second.facts == first.facts
    assert second.signal.config.context == 64
    assert len(second.train().get(np.array([0]))[0].parts[0]) == 62


def test_the_key_follows_content_and_settings(tmp_path):
    path = write_corpus(tmp_path)
    first = opened(path).fingerprint
    assert opened(path, config=CONFIG.model_copy(update={"lowercase": False})).fingerprint != first
    assert opened(path, held_out=0.1).fingerprint != first
    assert opened(path, document="line").fingerprint != first
    moved = tmp_path / "moved.txt"
    path.rename(moved)
    assert opened(moved).fingerprint == first
    moved.write_text(moved.read_text() + "\n\nMore text.\n")
    assert opened(moved).fingerprint != first


def test_a_damaged_cache_is_built_anew(tmp_path):
    path = write_corpus(tmp_path)
    corpus = opened(path)
    tokens = corpus.folder / "train" / "tokens.bin"
    want = tokens.read_bytes()
    tokens.write_bytes(want[:-2])
    assert (opened(path).folder / "train" / "tokens.bin").read_bytes() == want


def test_a_given_signal_is_used(tmp_path):
    signal = text.Text.fit(documents(50, seed=9), text.Config(vocabulary=150))
    path = write_corpus(tmp_path)
    corpus = open_corpus(Data(paths=(str(path),)), text, CONFIG, signal=signal)
    assert corpus.signal is signal and corpus.facts["vocabulary"] == signal.facts.vocabulary
    assert corpus.fingerprint != opened(path).fingerprint


def test_tables_and_notes(tmp_path):
    class Show:
        notes: list[str] = []

        def note(self, line: str) -> None:
            self.notes.append(line)

    path = write_jsonl(tmp_path, 120)
    corpus = open_corpus(Data(paths=(str(path),)), text, CONFIG, show=Show())
    assert corpus.facts["unit"] == "row" and corpus.facts["documents"] == 120
    assert Show.notes == [f"Tokenising {path.stat().st_size:,} bytes; the next run on these files starts at once."]


def test_rows(tmp_path):
    corpus = opened(write_corpus(tmp_path), held_out=0.2)
    assert {len(s.parts[0]) for s in corpus.train().get(np.arange(5))} == {30}
    windows = corpus.held_out("documents", context=20, partner=True)
    assert windows.lengths.max() <= 17 and len(windows) == len(windows.lengths)
    with pytest.raises(InputError) as error:
        corpus.train("columns")
    assert str(error.value) == "rows = 'columns': there are no such rows. Say packed, stream or documents."


class Line:
    def __init__(self, one: str):
        self.text = one


def running(texts: list[str], tmp_path: Path, share: float = 0.1):
    """The two splits of a running text of these pieces."""
    folder = tmp_path / "running"
    plan = pack.Plan(share, running=True, drop=True)
    facts = pack.build(folder, lambda: map(Line, texts), plan, lambda t: text.Text.fit(t, CONFIG), None, "play.txt")
    signal = text.Text.open(folder / "tokenizer")
    return facts, [texts_of(Corpus(folder, signal, facts, "", ()), split) for split in ("train", "held_out")], signal


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_a_running_text_holds_out_its_end(tmp_path, pieces):
    sentences = [f"{one} {i} ." for i, one in enumerate(documents(120, sentences=1))]
    cuts = [" ".join(part) for part in np.array_split(np.array(sentences, object), pieces)]
    _, (train, held), signal = running(cuts, tmp_path)
    whole = signal.decode(signal.encode([" ".join(cuts)])[0].ids)
    assert " ".join(train + held) == whole
    assert 0.08 < len(" ".join(held)) / len(whole) < 0.12


def test_the_tokenizer_of_a_running_text_never_sees_the_end(tmp_path, monkeypatch):
    seen: list[str] = []
    fit = text.Text.fit.__func__
    monkeypatch.setattr(text.Text, "fit", classmethod(lambda cls, t, c: fit(cls, [seen.append(x) or x for x in t], c)))
    running([" ".join(documents(50)) + " zebra" * 60], tmp_path)
    assert len(seen) == 1 and "zebra" not in seen[0]


def test_long_documents_are_packed_in_pieces(tmp_path, monkeypatch):
    texts = [" ".join(documents(3, seed=i)) + f" {i}" for i in range(40)]
    want = opened(blocks(tmp_path, texts), held_out=0.2)
    monkeypatch.setattr(pack, "BATCH", 300)
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "other"))
    got = opened(blocks(tmp_path, texts), held_out=0.2)
    for split in ("train", "held_out"):
        assert sorted(texts_of(got, split)) == sorted(texts_of(want, split))


def test_pieces_hold_the_text():
    one = " ".join(documents(5)) + "x" * 700
    for size in (50, 333, 10_000):
        parts = list(pack.pieces(one, size))
        assert "".join(parts) == one and max(map(len, parts)) <= size


def test_the_sample_is_of_whole_documents_and_bounded(tmp_path):
    sample = survey.Sample(tmp_path / "sample", limit=5_000)
    texts = [f"{i} ".encode() * 25 for i in range(2000)]
    for i, one in enumerate(texts):
        sample.add(i, survey.combine(np.uint64(i)).item(), one)
    chosen = dict(sample.texts(2000, 0))
    size = sum(len(one) for one in chosen.values())
    assert 2_000 < size <= 5_000 and all(chosen[i].encode() == texts[i] for i in chosen)
    assert set(dict(sample.texts(1000, 0))) == {i for i in chosen if i < 1000}
    assert (tmp_path / "sample").stat().st_size < 60_000


def test_lone_surrogates_do_no_harm(tmp_path):
    texts = [f"{one} {i}" for i, one in enumerate(documents(60))]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{one} \\ud800"}}\n' for one in texts))
    assert opened(tmp_path / "a.jsonl", held_out=0.3).facts["documents"] == 60


def message(*paths, **data) -> str:
    with pytest.raises(InputError) as error:
        opened(*paths, **data)
    return str(error.value)


def test_findings_of_the_readers_are_kept(tmp_path):
    lines = [f'{{"text": "{one} {i}"}}' for i, one in enumerate(documents(60))]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": ""}']) + "\n")
    corpus = opened(tmp_path / "a.jsonl", held_out=0.3, skip_bad=True)
    assert [finding.what for finding in corpus.findings] == ["`text` is empty"]


def test_errors(tmp_path):
    same = blocks(tmp_path, documents(1) * 4, "same.txt")
    assert message(same) == f"{same}: all documents are the same. Give more text, or say --document line."
    few = blocks(tmp_path, documents(6), "few.txt")
    assert message(few, held_out=0.001) == (
        f"{few}: there are only 6 documents, and none fell into the held-out part (0%). "
        "Give more text, say --document line, or set data.held_out = 0.5."
    )


def test_files_that_change_are_noticed(tmp_path):
    readings = iter([documents(50), documents(49)])
    with pytest.raises(RunError) as error:
        pack.build(
            tmp_path / "x", lambda: map(Line, next(readings)), pack.Plan(0.2, False, True),
            lambda t: text.Text.fit(t, CONFIG), None, "x",
        )  # fmt: skip
    assert str(error.value) == "data: the files changed while they were read. Run the command again."


def test_no_text(tmp_path):
    with pytest.raises(InputError) as error:
        pack.build(tmp_path / "x", lambda: [Line("  ")], pack.Plan(0.2, False, True), text.Text.fit, None, "x.txt")
    assert str(error.value) == (
        "x.txt: there is no text in it. Give files that hold text, or name the column with --text."
    )
