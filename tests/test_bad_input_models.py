"""Bad models, labels, run folders, pipes and disks through the command line: the whole message and the exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests import labelled_files, runs
from tests.house import ROOT
from tests.material import write_corpus
from tests.test_bad_input import SMALL, firth, listing, refused

CAN_MOUNT = os.geteuid() == 0 and shutil.which("mount") is not None
AGAIN = "Copy it again from where the model came from."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Model folders and run folders, each broken in one way, beside good ones: pretrained, adapted."""
    folder = tmp_path_factory.mktemp("models")
    runs.copied(folder, "pretrained", "adapted", "corpus.txt", "reviews.tsv")
    labelled_files.write_faulty(folder)
    (folder / "empty.txt").touch()
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "text": f"some text {i}"}) + "\n" for i in range(9))
    )
    _models(folder)
    _run_folders(folder)
    return folder


def _models(folder):
    for name in ("weightless", "pickled", "cut", "torn", "resized", "mute"):
        shutil.copytree(folder / "pretrained" / "model", folder / name)
    for name in ("weightless", "pickled"):
        (folder / name / "model.safetensors").unlink()
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with open(folder / "cut" / "model.safetensors", "r+b") as file:
        file.truncate(3000)
    (folder / "torn" / "config.json").write_text("{")
    config = json.loads((folder / "resized" / "config.json").read_text())
    (folder / "resized" / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    (folder / "mute" / "tokenizer.json").unlink()


def _run_folders(folder):
    for name in ("unfinished", "damaged", "listed"):
        shutil.copytree(folder / "pretrained", folder / name)
    facts = json.loads((folder / "unfinished" / "run.json").read_text())
    (folder / "unfinished" / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    shutil.rmtree(folder / "unfinished" / "model")
    (folder / "damaged" / "run.json").write_text("{")
    (folder / "listed" / "run.json").write_text("[1]")
    (folder / "link").symlink_to("pretrained")


BEGIN = "Give a run folder, or a folder with config.json and model.safetensors."
MODELS = {
    "nowhere": f"nowhere: no such folder.\n{BEGIN}",
    "corpus.txt": f"corpus.txt: is no folder.\n{BEGIN}",
    "weightless": "weightless: holds no model.safetensors.\nGive a folder with config.json and model.safetensors.",
    "pickled": "pickled: holds its weights as a pickle only (`pytorch_model.bin`), which can run any program when "
    "opened.\nConvert it with its own tool to model.safetensors; firth reads no other form.",
    "cut": f"cut/model.safetensors: is no whole safetensors file.\n{AGAIN}",
    "torn": f"torn/config.json: is no JSON object.\n{AGAIN}",
    "mute": "mute: holds no tokenizer.json and no vocab.txt.\nGive the folder of a model with its tokenizer.",
    "unfinished": "unfinished: is a run without a model: it is not finished.\nRun its command again; it goes on.",
    "damaged": "damaged/run.json: cannot be read as the facts of a run.\nChoose another folder with --out.",
    "listed": "listed/run.json: cannot be read as the facts of a run.\nChoose another folder with --out.",
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("verb", ["adapt", "predict"])
def test_a_bad_model(place, monkeypatch, verb, model):
    words = {"adapt": ["reviews.tsv", "--out", "new"], "predict": ["the [MASK] film"]}[verb]
    assert refused(place, monkeypatch, [verb, model, *words]) == MODELS[model]


def test_weights_of_another_size_than_the_config(place, monkeypatch):
    told = refused(place, monkeypatch, ["predict", "resized", "the [MASK] film"])
    assert told.startswith("resized: `backbone.embed.word.weight` is ")
    assert told.endswith("by config.json.\nTake config.json and the weights from the same model.")


ONCE = "Give at least two examples of each label, or leave out the row; --skip-bad leaves out such rows."
FOUR = "Use at least 4: one of each class to learn from, and one to validate."
ADAPT = {
    "once.tsv": f"once.tsv:22:14: the label `neutral` is seen only here.\n{ONCE}",
    "near.tsv": f"near.tsv:22:14: the label `postive` is seen once.\nDid you mean `positive`? {ONCE}",
    "one.tsv": "one.tsv: only the label `positive` was found.\n"
    "Give examples of at least two labels; --label names the column.",
    "texts.jsonl": "texts.jsonl: no column looks like a label.\nName it: --label can be `id`.",
    "corpus.txt": "corpus.txt:1:1: this text has no label.\n"
    "Put the texts of each class into a folder with its name, or give a table with a column of labels.",
    "empty.txt": "empty.txt: is empty.\nGive a file that holds text.",
    "mixed.tsv": "mixed.tsv:11:4: byte 0xE9 is not UTF-8, and other lines of the file are: two encodings are mixed.\n"
    "Save the file as UTF-8: iconv -f CP1252 -t UTF-8 OLD > NEW converts one that is all of one kind.",
    "reviews.tsv --label kind": "reviews.tsv: has no column `kind`.\n--label can be `text`, `label`.",
    "reviews.tsv --text body": "reviews.tsv: has no column `body`.\n--text can be `text`, `label`.",
    "reviews.tsv --labels 0": f"--labels 0: too few for 2 classes.\n{FOUR}",
    "reviews.tsv --labels 100000": "--labels 100000: there are only 120 labelled examples.\n"
    "Say `--labels 120` or fewer, or leave it out.",
    "reviews.tsv --start foo": "--start foo: no such start.\n"
    "There is: pretrained, random, co-occurrence, patch-kmeans.",
    "reviews.tsv --task foo": "--task foo: no such task.\nThere is: classify, pairs, span, tag, transcribe, verify.",
    "reviews.tsv --test onee.tsv": "onee.tsv: no such file or folder.\nDid you mean `one.tsv`? Check the name.",
    "reviews.tsv --set train.budget=5m": "--budget 5m: adapting is counted in steps or epochs.\n"
    "Write 500steps or 5epochs.",
    "reviews.tsv --set classify.pooling=max": "--set: `classify.pooling` cannot be `max`.\n"
    "`classify.pooling` is one of `auto`, `mean`, `first`, `last`, `statistics`.",
}


@pytest.mark.parametrize("words", ADAPT)
def test_adapt_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["adapt", "pretrained", *words.split(), "--out", "new"]) == ADAPT[words]


def test_adapt_into_a_folder_of_another_run(place, monkeypatch):
    told = refused(place, monkeypatch, ["adapt", "pretrained", "reviews.tsv", "--out", "pretrained"])
    assert told.startswith("pretrained: holds a run of another config (verb: pretrain there, adapt here; ")
    assert told.endswith("\nKeep both: --out pretrained-2. Or delete it: firth runs --delete pretrained.")


def test_pretrain_with_the_recipe_of_an_adaptation(place, monkeypatch):
    words = ["pretrain", "corpus.txt", "--config", "adapted/config.toml", "--budget", "3steps", "--out", "new"]
    assert (
        refused(place, monkeypatch, words) == "verb: the recipe is one of `adapt`.\nUse it with firth adapt --config."
    )


CONVERT = "Convert it: iconv -f CP1252 -t UTF-8 OLD > NEW"
PREDICT = {
    ("",): "INPUT: is empty.\nGive a text in quotes, a file, or - for a pipe.",
    ("caf\udce9 text",): f"INPUT: is not UTF-8.\n{CONVERT}",
    ("empty.txt",): "empty.txt: is empty.\nGive a file that holds text.",
    ("corpus.tx.txt",): "corpus.tx.txt: no such file.\n"
    "Did you mean `corpus.txt`? Put a text in quotes if it is one, with a space in it.",
    ("reviews.tsv", "--text", "body"): "reviews.tsv: has no column `body`.\n--text can be `text`, `label`.",
    ("a text", "--top", "0"): "--top 0: asks for no guess.\nAsk for one or more.",
    ("a text", "--device", "gpu"): "--device gpu: is not available here.\nUse --device auto or cpu.",
    ("reviews.tsv", "--out", "said.txt"): "--out said.txt: answers are kept as .jsonl, .csv or .tsv.\n"
    "Say --out said.jsonl.",
    ("reviews.tsv", "--out", "cut"): "--out cut: answers are kept as .jsonl, .csv or .tsv.\nSay --out said.jsonl.",
    ("reviews.tsv", "--out", "reviews.tsv"): "--out reviews.tsv: is there already.\n"
    "Choose another name, or remove it first.",
    ("reviews.tsv", "--out", "reviews.tsv", "--dry-run"): "--out reviews.tsv: is there already.\n"
    "Choose another name, or remove it first.",
    ("reviews.tsv", "--out", "no/x.jsonl"): "--out no/x.jsonl: lies in a folder that does not exist.\n"
    "Make it: mkdir -p no",
    ("reviews.tsv", "--out", "corpus.txt/x.csv"): "--out corpus.txt/x.csv: lies inside a file, not a folder.\n"
    "Choose another place.",
    ("reviews.tsv", "--document", "lines"): "--document lines: is nothing a document can be.\n"
    "Did you mean `line`? Say file, block or line.",
    ("a text", "--config", "few.toml"): "--config: belongs to a prompt.\nAdd --task prompt, or leave it out.",
}


@pytest.mark.parametrize("words", PREDICT)
def test_predict_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["predict", "adapted", *words]) == PREDICT[words]


def test_a_text_without_a_mask(place, monkeypatch):
    told = refused(place, monkeypatch, ["predict", "pretrained", "no mask here"])
    assert told == "input 1 `no mask here`: there is no [MASK] in it.\nWrite [MASK] where a word shall be guessed."


def test_predictions_are_kept_whole_or_not_at_all(place, monkeypatch):
    monkeypatch.chdir(place)
    told = refused(place, monkeypatch, ["predict", "adapted", "mixed.tsv", "--out", "kept.jsonl"])
    assert "two encodings are mixed" in told and not (place / "kept.jsonl").exists()
    assert firth("predict", "adapted", "reviews.tsv", "--out", "kept.jsonl").exit_code == 0
    assert len((place / "kept.jsonl").read_text().splitlines()) == 120
    (place / "kept.jsonl").unlink()


RUNS = {
    ("nope",): "nope: is no run folder of firth.\nThere is no run in runs.",
    ("damaged",): "damaged/run.json: cannot be read as the facts of a run.\nChoose another folder with --out.",
    ("--delete",): "firth runs --delete: names no run.\nName the folders to delete; `firth runs` lists them.",
    ("--delete", "adapted"): "firth runs --delete adapted: would delete without asking.\nAdd --yes to delete.",
    ("--delete", "corpus.txt", "--yes"): "corpus.txt: is no run folder of firth.\nThere is no run in runs.",
    ("--delete", "/", "--yes"): "/: is no run folder of firth.\nThere is no run in runs.",
}


@pytest.mark.parametrize("words", RUNS)
def test_runs_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["runs", *words]) == RUNS[words]


def test_a_link_to_a_run_is_not_deleted(place, monkeypatch):
    told = refused(place, monkeypatch, ["runs", "--delete", "link", "--yes"])
    assert told == f"link: is a link.\nDelete the run itself: firth runs --delete {place.resolve()}/pretrained."


def test_a_run_in_training_is_neither_joined_nor_deleted(place, monkeypatch, tmp_path):
    from firth.train.folder import RunFolder, locked

    shutil.copytree(place / "unfinished", tmp_path / "busy")
    asked = ["pretrain", runs.folder() / "corpus.txt", "--size", "2x32", "--budget", "12steps", "--out", "busy"]
    asked += [word for setting in runs.QUICK for word in ("--set", setting)]
    with locked(RunFolder(tmp_path / "busy")):
        assert refused(tmp_path, monkeypatch, asked) == (
            "busy: is being trained by another process.\nWait for it, or choose --out busy-2."
        )
        assert refused(tmp_path, monkeypatch, ["runs", "--delete", "busy", "--yes"]) == (
            "busy: is being trained by another process.\nStop that one first, then delete busy."
        )


def test_a_folder_that_was_taken_during_the_preparation(tmp_path, monkeypatch):
    """Two commands begun at once with the same --out: the later one leaves the earlier one's files alone."""
    from firth.train import prepare

    fresh, corpus = prepare.fresh, write_corpus(tmp_path)

    def slow(work):
        fresh(work)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "run.json").write_text('{"status": "running"}')

    monkeypatch.setattr(prepare, "fresh", slow)
    monkeypatch.chdir(tmp_path)
    done = firth("pretrain", corpus, *SMALL, "--budget", "3steps", "--out", "new")
    assert (done.exit_code, done.stderr) == (
        2,
        "new: was taken by another run while this one was prepared.\nChoose another place: --out new-2.\n",
    )
    assert json.loads((tmp_path / "new" / "run.json").read_text()) == {"status": "running"}


def test_a_small_corpus_resumes_though_its_vocabulary_is_smaller_than_asked(tmp_path, monkeypatch):
    """The complete recipe in config.toml means the same packed corpus as the request."""
    monkeypatch.chdir(tmp_path)
    asked = ["pretrain", write_corpus(tmp_path), *SMALL, "--budget", "3steps", "--out", "new"]
    assert firth(*asked).exit_code == 0
    facts = json.loads((tmp_path / "new" / "run.json").read_text())
    assert facts["data"]["vocabulary"] < 300
    (tmp_path / "new" / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    again = firth(*asked)
    assert again.exit_code == 0 and "going on from step 3" in again.output


SIZES = {"cache": 16, "run": 64}  # kB: too little for the packed text; for a checkpoint


@pytest.mark.skipif(not CAN_MOUNT, reason="a file system of a few kB has to be mounted")
@pytest.mark.parametrize("what", ["cache", "run"])
def test_a_full_disk(tmp_path, monkeypatch, what):
    small, corpus = tmp_path / "small", write_corpus(tmp_path)
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZES[what]}k", "tmpfs", small], capture_output=True
    ).returncode:
        pytest.skip("mounting is not permitted")
    try:
        if what == "cache":
            monkeypatch.setenv("FIRTH_CACHE", str(small / "cache"))
        done = firth(
            "pretrain", corpus, *SMALL, "--budget", "3steps", "--out", (small if what == "run" else tmp_path) / "run"
        )
        assert "fault in firth" not in done.output
        left = [name for name in listing(small) if "lock" not in name and name not in ("cache", "cache/corpora")]
        assert left == [] and not (tmp_path / "run").exists()
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
    told = {
        "cache": (1, f"{small}/cache/corpora: the disk is full.\n"
                  "Make space, or set FIRTH_CACHE to a folder on another disk.\n"),
        "run": (2, f"{small}/run: has 1 MB of free disk, the run needs about 2 MB.\n"
                "Make room, or choose another disk with --out.\n"),
    }  # fmt: skip
    assert (done.exit_code, done.stderr) == told[what]


def process(words, **options):
    return subprocess.Popen([sys.executable, "-m", "firth", *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, **options)  # fmt: skip


def test_standard_input_is_closed_or_no_text(place):
    """In one process, as the import of torch takes longest: what `-` stands for without a usable stream."""
    import io

    from firth.errors import InputError
    from firth.evaluate.inputs import lines

    broken = io.TextIOWrapper(io.BytesIO(b"good\ncaf\xe9\n"), encoding="utf-8")
    passed = io.StringIO("good\ncaf\udce9\n")
    for stream, told in {
        None: "standard input: is closed. Pipe lines into it: firth predict RUN - < lines.txt",
        broken: f"standard input, near line 1: byte 0xE9 is not UTF-8. {CONVERT}",
        passed: f"standard input:2: is not UTF-8. {CONVERT}",
    }.items():
        with pytest.raises(InputError) as caught:
            list(lines(stream))
        assert str(caught.value) == told


def test_nobody_reads_on(place):
    """`firth predict … | head -1`: no complaint, and the exit code of a closed pipe."""
    running = process(["predict", "adapted", *["reviews.tsv"] * 40], cwd=place)
    assert running.stdout.readline().startswith(b'{"text"')
    running.stdout.close()
    assert running.stderr.read() == b""
    assert running.wait(300) == 141


def test_ctrl_c_says_how_to_go_on(tmp_path):
    asked = ["pretrain", write_corpus(tmp_path), *SMALL, "--budget", "1000000steps", "--out", "new"]
    running = process(asked, cwd=tmp_path)
    while not (tmp_path / "new" / "metrics.jsonl").exists() and running.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 130
    first, second = told.decode().splitlines()
    assert first.startswith("new: stopped by Ctrl-C after step ") and first.endswith("; a checkpoint was written.")
    assert second == "The same command goes on from there."
    assert list((tmp_path / "new" / "checkpoints").glob("step-*.safetensors"))


def test_ctrl_c_before_there_is_a_run(tmp_path, monkeypatch):
    from firth.errors import Interrupted
    from firth.train import prepare

    def stopped(_):
        raise Interrupted("training", "stopped by Ctrl-C", "…")

    monkeypatch.setattr(prepare, "fresh", stopped)
    told = refused(
        tmp_path, monkeypatch, ["pretrain", __file__, *SMALL, "--budget", "3steps", "--out", "new"], code=130
    )
    assert told == "new: stopped while the run was prepared; nothing was written.\nThe same command begins again."


def test_ctrl_c_while_nothing_listens_for_it(tmp_path, monkeypatch):
    from firth.train import pretrain

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "request", stopped)
    told = refused(tmp_path, monkeypatch, ["pretrain", "x.txt", "--out", "new"], code=130)
    assert told == "Interrupted. The same command begins again, or goes on from the last checkpoint."


def test_a_step_that_fails_of_the_ctrl_c_is_told_as_the_ctrl_c():
    """The signal reaches what a step has running, too, such as a compiler."""
    from firth.errors import Interrupted
    from firth.train.stop import Stop

    stop = Stop()
    with pytest.raises(OSError), stop.told("new", 3):
        raise OSError("of its own")
    stop.asked = "Ctrl-C"
    with pytest.raises(Interrupted) as caught, stop.told("new", 3):
        raise OSError("killed by a signal")
    told = "new: stopped by Ctrl-C during step 3. The same command goes on from the last checkpoint."
    assert str(caught.value) == told


def test_a_fault_of_firth_itself_is_one_line(tmp_path, monkeypatch):
    from firth.train import pretrain

    def faulty(*_, **__):
        raise RuntimeError("first line\n" + "more\n" * 9)

    monkeypatch.setattr(pretrain, "request", faulty)
    told = refused(tmp_path, monkeypatch, ["pretrain", "x.txt", "--out", "new", "--json"], code=1, fault=True)
    assert told == "firth: RuntimeError: first line. This is a fault in firth; run again with --debug."
