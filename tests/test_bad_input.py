"""Bad files, options and settings through the command line: the whole message, the exit code, nothing left behind."""

import gzip
import os
import zipfile

import pytest
from typer.testing import CliRunner

from firth import find
from firth.cli import app
from tests.labelled_files import write_faulty
from tests.material import documents, write_corpus, write_labels

SMALL = ["--size", "1x32", "--set", "text.vocabulary=300", "--set", "text.context=32", "--set", "train.batch=4"]
STEPS = [*SMALL, "--budget", "3steps", "--out", "new"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of everything that can be wrong with files."""
    folder = tmp_path_factory.mktemp("bad")
    write_corpus(folder, 200)
    write_labels(folder, 40)
    for make in (_texts, write_faulty, _archives, _folders):
        make(folder)
    return folder


def _texts(folder):
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (folder / "nul.txt").write_bytes(b"some words\x00 here\n" * 9)
    (folder / "mixed.txt").write_bytes("Zoë\n".encode() * 3 + b"caf\xe9\n")
    (folder / "tiny.txt").write_bytes(b"hello\n")
    (folder / "bad.toml").write_text("steps = = 5\n")
    (folder / "keys.toml").write_text("[train]\nbatchs = 4\n[masked_tokens]\nmask_rat = 0.2\n")
    (folder / "bytes.toml").write_bytes(b"\xb6")
    (folder / "line.txt").write_bytes(b"one word and another " * 850_000)


def _archives(folder):
    with zipfile.ZipFile(folder / "up.zip", "w") as made:
        made.writestr("../evil.txt", "some words")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("b.txt", b"a" * 200_000_000)
    (folder / "bomb.txt.gz").write_bytes(gzip.compress((b"a" * 9999 + b"\n") * 10_000))


def _folders(folder):
    (folder / "images").mkdir()
    for number in range(3):
        (folder / "images" / f"{number}.png").write_bytes(b"\x89PNG")
    (folder / "loop").mkdir()
    (folder / "loop" / "round").symlink_to(".")
    (folder / "loop" / "real.txt").write_text("\n\n".join(documents(200)))
    (folder / "dead").mkdir()
    (folder / "dead" / "gone.txt").symlink_to("nowhere")


def firth(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(place, monkeypatch, words, code=2, fault=False) -> str:
    """What stands on stderr; the folder is as it was."""
    monkeypatch.chdir(place)
    before = listing(place)
    done = firth(*words)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output and ("fault in firth" in done.output) == fault
    assert listing(place) == before
    return done.stderr.strip()


OWN = "Take the text out of it first, or leave this file out; --skip-bad leaves out all such files."
FORM = "Write 90s, 20m or 2h for the wall time of the whole command, or 500steps, 3epochs, 100Mtokens."
READS = "firth reads .txt, .md, .jsonl, .csv, .tsv, .parquet, .conllu, .conll, SQuAD .json, and .zip or .gz of them."
OBJECTIVES = ", ".join(find.names("objectives"))
FILES = {
    "empty.txt": "empty.txt: is empty.\nGive a file that holds text.",
    "binary.txt": f"binary.txt: is binary data, not text.\n{OWN}",
    "nul.txt": f"nul.txt: is binary data, not text.\n{OWN}",
    "mixed.txt": "mixed.txt:4:4: byte 0xE9 is not UTF-8, and other lines of the file are: two encodings are mixed.\n"
    "Save the file as UTF-8: iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind.",
    "line.txt": "line.txt:1:1: the line is longer than 16 MiB.\n"
    "Break it into lines, for example with: fold -s -w 4000 OLD > NEW",
    "tiny.txt": "tiny.txt: there is only 1 document, and none fell into the held-out part (10%).\n"
    "Give more text, say --document line, or set data.held_out = 0.5.",
    "up.zip": "up.zip/../evil.txt: the name leads out of the archive.\n"
    "Such an archive was made by mistake or to do harm. If you trust it, unpack it yourself and give the folder.",
    "bomb.zip": "bomb.zip: unpacks to 1,028 times its size: a zip bomb.\n"
    "If you trust it, unpack it yourself and give the folder.",
    "images": "images/0.png: is damaged (it begins as PNG and cannot be read further).\n"
    "Copy it again from where it came from, or remove it.",
    "dead": "dead: holds no file that can be read, only links to files that do not exist (dead/gone.txt).\n"
    "Remove the link, or put the file in its place.",
    "corpsu.txt": "corpsu.txt: no such file or folder.\nDid you mean `corpus.txt`? Check the name.",
    "*.rtf": "*.rtf: no file matches.\nCheck the pattern, and put it in quotes.",
    "/dev/zero": "/dev/zero: is no regular file.\nWrite the data to a file first.",
    "hf://datasets/imdb": "hf://datasets/imdb: is an address, and firth reads files of this machine.\n"
    "Download it, and give the folder.",
    "": "DATA: an empty name was given.\nName a file or a folder; a variable may not be set.",
    "caf\udce9.txt": "caf\\udce9.txt: has a name that is not UTF-8.\nRename it: mv OLD NEW.",
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(place, monkeypatch, name):
    assert refused(place, monkeypatch, ["pretrain", name, *STEPS]) == FILES[name]


@pytest.mark.slow
def test_a_line_of_one_gigabyte(tmp_path, monkeypatch):
    with open(tmp_path / "line.txt", "wb") as file:
        for _ in range(1000):
            file.write(b"one word and another " * 50_000)
    told = FILES["line.txt"]
    assert refused(tmp_path, monkeypatch, ["pretrain", "line.txt", *STEPS]) == told


def test_a_gzip_bomb(place, monkeypatch):
    told = refused(place, monkeypatch, ["pretrain", "bomb.txt.gz", *STEPS])
    assert told.startswith("bomb.txt.gz: ") and told.endswith(
        "If you trust it, unpack it yourself and give the folder."
    )


OPTIONS = {
    "--budget 5": f"--budget 5: is neither a time nor an amount of training.\n{FORM}",
    "--budget -5m": f"--budget -5m: is neither a time nor an amount of training.\n{FORM}",
    "--budget 0s": f"--budget 0s: is neither a time nor an amount of training.\n{FORM}",
    "--budget 1.2.3m": f"--budget 1.2.3m: is neither a time nor an amount of training.\n{FORM}",
    "--budget 9999999999999999h": f"--budget 9999999999999999h: is neither a time nor an amount of training.\n{FORM}",
    "--objective masked-token": "objectives `masked-token`: no such name.\n"
    f"Did you mean `masked-tokens`? There is: {OBJECTIVES}.",
    "--objective classify": f"objectives `classify`: no such name.\nThere is: {OBJECTIVES}.",
    "--size huge": "size `huge`: is neither a name nor layers x width.\n"
    "Write for instance 4x256, or one of tiny, mini, small, medium, base, large.",
    "--size 0x32": "size `0x32`: is neither a name nor layers x width.\n"
    "Write for instance 4x256, or one of tiny, mini, small, medium, base, large.",
    "--size 2x33": "width 33: does not divide into 1 heads of even length.\n"
    "Set model.heads to a number that divides 16, or take a width that is a multiple of 64.",
    "--device gpu": "--device gpu: is not available here.\nUse --device auto or cpu.",
    "--device meta": "--device meta: is not available here.\nUse --device auto or cpu.",
    "--seed -1": "options: `seed` cannot be `-1`.\n`seed` is of type int, ≥ 0, < 9223372036854775808.",
    "--from nowhere": "nowhere: no such folder.\n"
    "Give a run folder, or a folder with config.json and model.safetensors.",
    "--config bad.toml": "bad.toml: is no valid TOML: Invalid value (at line 1, column 9).\n"
    "Repair that line; https://toml.io shows the form.",
    "--config bytes.toml": "bytes.toml: is no valid TOML: 'utf-8' codec can't decode byte 0xb6 in position 0: invalid "
    "start byte.\nRepair that line; https://toml.io shows the form.",
    "--config nope.toml": "nope.toml: cannot be read (No such file or directory).\nCheck the name after --config.",
    "--config keys.toml": "keys.toml: `train.batchs` is no key; `masked_tokens.mask_rat` is no key.\n"
    "Did you mean `train.batch`? Did you mean `masked_tokens.mask_rate`?",
    "--out images": "images: is there already and is no run of firth.\nChoose another place: --out images-2.",
    "--out corpus.txt": "corpus.txt: is there already and is no run of firth.\n"
    "Choose another place: --out corpus.txt-2.",
    "--out corpus.txt/run": "corpus.txt/run: lies inside a file, not a folder.\nChoose another place with --out.",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bad_option(place, monkeypatch, option):
    assert refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS, *option.split()]) == OPTIONS[option]


SETTINGS = {
    "train.batch=0": "int | None, ≥ 1",
    "train.batch=-3": "int | None, ≥ 1",
    "train.steps=-1": "int | None, ≥ 1",
    "train.threads=-1": "int | None, ≥ 1",
    "train.patience=-1": "int | None, ≥ 0",
    "train.checkpoint_every=0": "int | None, ≥ 1",
    "train.evaluate_samples=0": "int | None, ≥ 1",
    "train.warmup=5": "float, ≥ 0, ≤ 1",
    "optimizer.lr=-1": "float | None, > 0",
    "optimizer.lr=nan": "float | None, > 0",
    "optimizer.lr=inf": "float | None, > 0",
    "optimizer.betas=2,3": "tuple[float ≥ 0 and < 1, float ≥ 0 and < 1]",
    "optimizer.epsilon=0": "float, > 0",
    "model.dropout=1.5": "float | None, ≥ 0, < 1",
    "model.heads=0": "int | None, ≥ 1",
    "text.vocabulary=0": "int, ≥ 16, ≤ 1000000",
    "text.context=2": "int, ≥ 8",
    "data.held_out=1": "float, > 0, < 0.9",
    "masked_tokens.mask_rate=0": "float, > 0, ≤ 1",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_number_out_of_its_limits(place, monkeypatch, setting):
    key, _, value = setting.partition("=")
    told = refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS, "--set", setting])
    assert told == f"--set: `{key}` cannot be `{value}`.\n`{key}` is of type {SETTINGS[setting]}."


WORDS = {
    "model.shape=gpt": (
        "--set: `model.shape` cannot be `gpt`.\n`model.shape` is one of `modernbert`, `bert`, `llama`, `gpt2`, "
        "`resnet`, `vit`, `frames`, `causal-frames`, `wav2vec2`, `hubert`."
    ),
    "model.start=foo": "model.start = foo: no such start.\nThere is: random, co-occurrence, patch-kmeans.",
    "signal=image": "corpus.txt: `.txt` files have no reader.\n"
    "firth reads JPEG, PNG, WebP, TIFF, BMP, GIF, .zip, .tar, parquet of bytes, and .csv or .jsonl of paths.",
    "nonsense": "--set nonsense: has no `=`.\nWrite key=value, as in --set train.batch=32.",
    "=5": "--set: `` is no key.\ndocs/recipe.md lists the keys.",
    "data=5": "--set: `data` is no key.\ndocs/recipe.md lists the keys.",
    "verb=adapt": "verb: the recipe is one of `adapt`.\nUse it with firth adapt --config.",
}


@pytest.mark.parametrize("setting", WORDS)
def test_a_setting_that_is_none(place, monkeypatch, setting):
    assert refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS, "--set", setting]) == WORDS[setting]


@pytest.mark.parametrize(("out", "free"), [(".", "runs/NAME-2"), ("/", "runs/run-2")])
def test_a_folder_without_a_name_of_its_own(place, monkeypatch, out, free):
    told = refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS, "--out", out])
    free = free.replace("NAME", place.name)
    assert told == f"{out}: is there already and is no run of firth.\nChoose another place: --out {free}."


def test_a_budget_that_is_too_short(place, monkeypatch):
    told = refused(place, monkeypatch, ["pretrain", "corpus.txt", *SMALL, "--budget", "1s", "--out", "new"])
    assert told == (
        "--budget 1s: is over before training could begin: starting and measuring alone take some seconds.\n"
        "Give --budget 60s or more, or --budget 100steps."
    )


def test_no_data_and_no_budget(place, monkeypatch):
    assert refused(place, monkeypatch, ["pretrain", "--budget", "5steps"]) == (
        "DATA: is not given.\nName files or folders: firth pretrain texts/ --budget 20m."
    )
    assert refused(place, monkeypatch, ["pretrain", "corpus.txt"]).startswith(
        "--budget: is not given.\nAdd --budget 20m"
    )


def test_a_loop_of_links_is_read_once(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    done = firth("pretrain", "loop", *SMALL, "--budget", "2steps", "--out", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert "200 documents" in done.output


@pytest.mark.parametrize(
    "name", ["empty.txt", "binary.txt", "once.tsv", "bomb.zip", "up.zip", "dead", "images", "mixed.txt"]
)
def test_the_doctor_tells_and_ends_with_2_where_training_would_refuse(place, monkeypatch, name):
    monkeypatch.chdir(place)
    done = firth("check", name)
    assert "fault in firth" not in done.output and "Traceback" not in done.output
    assert name.split("/")[0] in done.output
    assert done.exit_code == (0 if name == "once.tsv" else 2), done.output


def test_the_doctor_with_findings_of_weight_is_no_fault(place, monkeypatch):
    """One readable file and one that is not: all findings, then exit code 2."""
    monkeypatch.chdir(place)
    done = firth("check", "corpus.txt", "mixed.txt")
    assert done.exit_code == 2 and "fault in firth" not in done.output
    assert firth("check", "corpus.txt", "mixed.txt", "--skip-bad").exit_code == 0


OUTS = {
    "images": "--out images: is there already.\nChoose another name, or remove it first.",
    "reviews.tsv": "--out reviews.tsv: is there already.\nChoose another name, or remove it first.",
    "nowhere/x.json": "--out nowhere/x.json: lies in a folder that does not exist.\nMake it: mkdir -p nowhere",
    "corpus.txt/x.json": "--out corpus.txt/x.json: lies inside a file, not a folder.\nChoose another place.",
}


@pytest.mark.parametrize("out", OUTS)
def test_a_report_that_cannot_be_kept(place, monkeypatch, out):
    assert refused(place, monkeypatch, ["check", "reviews.tsv", "--out", out]) == OUTS[out]


def test_a_file_that_vanishes_while_it_is_read(place, monkeypatch, tmp_path):
    from firth.data import readers

    path = write_corpus(tmp_path)
    original = readers.expand

    def then_gone(*given):
        files = original(*given)
        path.unlink()
        return files

    monkeypatch.setattr(readers, "expand", then_gone)
    monkeypatch.chdir(tmp_path)
    done = firth("pretrain", "corpus.txt", *STEPS)
    assert (done.exit_code, done.stderr) == (
        2,
        "corpus.txt: cannot be read (No such file or directory).\n"
        "It was there a moment ago: see that nothing moves or deletes it, and run again.\n",
    )
    assert listing(tmp_path) == []


def test_a_cache_that_may_not_be_written(place, monkeypatch):
    monkeypatch.setenv("FIRTH_CACHE", str(place / "corpus.txt"))
    told = refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS])
    assert told.endswith("corpora: the cache folder cannot be written (Not a directory).\n"
                         "Set FIRTH_CACHE to a folder that can be written.")  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(place, monkeypatch, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    told = refused(place, monkeypatch, ["pretrain", "corpus.txt", *STEPS, "--out", tmp_path / "shut" / "run"])
    assert told == f"{tmp_path}/shut/run: may not be written to.\nChoose another place with --out."


def test_no_permission_to_write_as_the_system_would_say_it(place, monkeypatch):
    from firth.train import folder

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder, "write_atomically", refuse)
    monkeypatch.chdir(place)
    done = firth("pretrain", "corpus.txt", *STEPS)
    assert (done.exit_code, done.stderr) == (2, "new: may not be written to.\nChoose another place with --out.\n")
    assert listing(place / "new") == [".lock", "checkpoints", "samples"]
