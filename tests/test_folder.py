"""The run folder: whose it is, what it holds, and what happens when the system says no."""

import errno
import json
import os
import subprocess
import sys

import pytest

from firth.errors import InputError, RunError
from firth.recipe import Recipe, filled
from firth.train import card, runs
from firth.train.folder import RunFolder, claim, free_name, locked, write_atomically, writing
from firth.train.log import Log, Recorded, Silent, read_metrics
from firth.train.pretrain import Result, flat, show_finished

ASKED = {"objective": ["masked-tokens"], "train.budget": "20m", "seed": 0, "verb": "pretrain"}


def made(path, status="running", recipe=None, **facts) -> RunFolder:
    folder = RunFolder(path)
    folder.create(recipe or Recipe(), asked=facts.pop("asked", ASKED))
    folder.update(status=status, **facts)
    return folder


def text_of(error_type, call) -> str:
    with pytest.raises(error_type) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------ asked from elsewhere


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with raw texts, and a run in it that was made there."""
    (tmp_path / "project" / "raw").mkdir(parents=True)
    (tmp_path / "project" / "raw" / "a.txt").touch()
    monkeypatch.chdir(tmp_path / "project")
    data = {"paths": ("raw", "raw/*.txt", "gone", "/nowhere", "synthetic:icl"), "test": ("raw/a.txt",)}
    made("runs/one", recipe=filled(Recipe(), data=data, model={"source": "raw"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "project"


def test_a_run_finds_its_data_from_another_folder(project):
    run = RunFolder("project/runs/one")
    found = run.reached
    assert found.data.paths == ("project/raw", "project/raw/*.txt", "gone", "/nowhere", "synthetic:icl")
    assert found.data.test == ("project/raw/a.txt",) and found.model.source == "project/raw"
    assert run.recipe.data.paths[0] == "raw"  # as it was typed


def test_a_run_that_is_moved_with_its_data_finds_it(project):
    project.rename(project.with_name("elsewhere"))
    assert RunFolder("elsewhere/runs/one").reached.data.paths[0] == "elsewhere/raw"


def test_a_run_that_is_moved_alone_keeps_what_was_typed(project):
    (project / "runs" / "one").rename("alone")
    assert RunFolder("alone").reached == RunFolder("alone").recipe


def test_a_run_that_lies_elsewhere_behind_a_link_finds_its_data(project, tmp_path):
    disk = tmp_path / "disk" / "of" / "runs"
    disk.mkdir(parents=True)
    (project / "runs" / "two").symlink_to(disk)
    with pytest.MonkeyPatch.context() as there:
        there.chdir(project)
        made("runs/two", recipe=filled(Recipe(), data={"paths": ("raw",)}))
    assert RunFolder("project/runs/two").reached.data.paths == (str((project / "raw").resolve()),)


def test_what_lies_in_the_working_folder_goes_first(project, monkeypatch):
    (project.parent / "raw").mkdir()
    assert RunFolder(project / "runs" / "one").reached.data.paths[:2] == ("raw", str(project / "raw" / "*.txt"))
    monkeypatch.chdir(project)
    assert RunFolder("runs/one").reached == RunFolder("runs/one").recipe


# ------------------------------------------------------------------ claiming


def test_a_folder_that_is_not_there_or_empty_is_new(tmp_path):
    assert claim(tmp_path / "new", ASKED).status == "new"
    assert claim(tmp_path, ASKED).status == "new"


def test_leftovers_of_a_run_killed_before_it_began_are_new(tmp_path):
    (tmp_path / "config.toml").write_text("")
    (tmp_path / ".config.toml.4711").write_text("verb = ")
    (tmp_path / ".run.json.4711").write_text("{")
    (tmp_path / "checkpoints").mkdir()
    assert claim(tmp_path, ASKED).status == "new"


@pytest.mark.parametrize(
    ("status", "seen"), [("running", "unfinished"), ("interrupted", "unfinished"), ("finished", "finished")]
)
def test_the_same_request_finds_its_run(tmp_path, status, seen):
    made(tmp_path / "run", status)
    assert claim(tmp_path / "run", ASKED).status == seen


def test_another_request_is_refused_with_a_free_name(tmp_path):
    path = tmp_path / "run"
    made(path)
    made(tmp_path / "run-2")
    assert text_of(InputError, lambda: claim(path, ASKED | {"train.budget": "30m", "seed": 1})) == (
        f"{path}: holds a run of another config (train.budget: 20m there, 30m here; seed: 0 there, 1 here). "
        f"Keep both: --out {tmp_path / 'run-3'}. Or delete it: firth runs --delete {path}."
    )


def test_the_complete_config_of_the_run_counts_as_the_same_request(tmp_path):
    recipe = filled(Recipe(), train={"steps": 100, "threads": 2})
    made(tmp_path / "run", recipe=recipe)
    assert claim(tmp_path / "run", flat(recipe), recipe).status == "unfinished"
    other = filled(recipe, train={"steps": 101})
    with pytest.raises(InputError):
        claim(tmp_path / "run", flat(other), other)


def test_somebody_elses_folder_is_left_alone(tmp_path):
    path = tmp_path / "thesis"
    path.mkdir()
    (path / "chapter.txt").write_text("Nothing of yours.")
    assert text_of(InputError, lambda: claim(path, ASKED)) == (
        f"{path}: is there already and is no run of firth. Choose another place: --out {path}-2."
    )


def test_a_file_in_the_place_of_the_folder(tmp_path):
    path = tmp_path / "run"
    path.write_text("a file")
    with pytest.raises(InputError):
        claim(path, ASKED)
    with pytest.raises(InputError):
        RunFolder(path / "inside").create(Recipe())


def test_facts_that_cannot_be_read(tmp_path):
    (tmp_path / "run.json").write_text("{half")
    assert text_of(InputError, lambda: RunFolder(tmp_path).facts) == (
        f"{tmp_path / 'run.json'}: cannot be read as the facts of a run. Choose another folder with --out."
    )


def test_free_names_count_up(tmp_path):
    for name in ("run", "run-2", "run-3"):
        (tmp_path / name).mkdir()
    assert free_name(tmp_path / "run") == tmp_path / "run-4"


# ------------------------------------------------------------------ what it holds


def test_config_and_facts_come_back(tmp_path):
    recipe = filled(Recipe(), train={"steps": 12}, optimizer={"lr": 0.1 + 0.2})
    folder = made(tmp_path / "run", recipe=recipe, plan={"steps": 12})
    assert folder.recipe == recipe
    assert folder.facts["plan"] == {"steps": 12} and folder.facts["asked"] == ASKED
    folder.update(status="finished")
    assert folder.facts["plan"] == {"steps": 12} and folder.status == "finished"
    assert os.fspath(folder) == str(folder) == str(tmp_path / "run")


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
    with pytest.raises(OSError):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_a_second_process_is_kept_out(tmp_path):
    pytest.importorskip("fcntl")
    folder = made(tmp_path / "run")
    code = (
        "import sys; from firth.train.folder import *; from firth.errors import InputError\n"
        "try:\n    locked(RunFolder(sys.argv[1])).__enter__()\n"
        "except InputError as error:\n    print(error)"
    )
    with locked(folder):
        said = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True).stdout.strip()
    assert said == f"{folder}: is being trained by another process. Wait for it, or choose --out {folder}-2."
    with locked(folder):
        pass


# ------------------------------------------------------------------ what the system refuses


@pytest.mark.parametrize(
    ("number", "error_type", "text"),
    [
        (
            errno.ENOSPC,
            RunError,
            "runs/x: the disk is full. "
            "Make room, then run the same command again: it goes on from the last checkpoint.",
        ),
        (errno.EACCES, InputError, "runs/x: may not be written to. Choose another place with --out."),
        (errno.EROFS, InputError, "runs/x: may not be written to. Choose another place with --out."),
        (errno.ENOTDIR, InputError, "runs/x: lies inside a file, not a folder. Choose another place with --out."),
    ],
)
def test_refusals_of_the_system_say_what_to_do(number, error_type, text):
    def write():
        with writing("runs/x"):
            raise OSError(number, "no")

    assert text_of(error_type, write) == text


def test_other_faults_of_the_system_stay_visible():
    with pytest.raises(OSError), writing("runs/x"):
        raise OSError(errno.EIO, "the disk is dying")


# ------------------------------------------------------------------ the log


def test_metrics_are_one_object_a_line_and_resume_drops_what_came_after(tmp_path):
    with Log(tmp_path / "metrics.jsonl", tmp_path / "train.log") as log:
        for step in range(1, 6):
            log.metrics(step, loss=1 / step)
        log.text("hello")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    with Log(tmp_path / "metrics.jsonl", tmp_path / "train.log", from_step=3) as log:
        log.metrics(4, loss=0.5)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["loss"] == 1 / 3 and rows[3]["loss"] == 0.5
    assert (tmp_path / "train.log").read_text().endswith(" hello\n")


def test_a_disk_that_refuses_while_a_run_goes_on_loses_no_metrics(tmp_path, monkeypatch):
    with Log(tmp_path / "metrics.jsonl", tmp_path / "train.log") as log:
        log.metrics(1, loss=0.5)
    before = (tmp_path / "metrics.jsonl").read_text()

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        Log(tmp_path / "metrics.jsonl", tmp_path / "train.log", from_step=1)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_no_metrics_are_no_rows(tmp_path):
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_what_is_shown_is_recorded_and_passed_on():
    inner = Recorded(Silent())
    outer = Recorded(inner)
    outer.line("Data", "3 documents")
    outer.note("one more thing")
    assert outer.lines == inner.lines == ["Data     3 documents", "one more thing"]


# ------------------------------------------------------------------ the card, and runs

RESULT = Result(
    "runs/sea",
    loss=4.12,
    accuracy=0.241,
    seconds=1140.0,
    steps=17_100,
    tokens=35_000_000,
    metrics={"loss": 4.12, "masked_tokens": 4.12, "masked_tokens_accuracy": 0.241, "masked_tokens_perplexity": 61.6},
    random_loss=9.03,
    first_loss=6.84,
    peak_memory=2**31,
)


def finished(path, recipe=None, **asked) -> RunFolder:
    kept = RESULT.as_dict() | {"folder": path.name}
    return made(path, "finished", recipe, asked=ASKED | asked, result=kept)


def test_the_card_has_the_figures_and_commands(tmp_path):
    folder = finished(tmp_path / "sea")
    card.write(folder, Recipe(), RESULT, "50,000 documents", "ModernBERT-shaped, 4 layers × 256")
    text = folder.card.read_text()
    for part in ("4.120", "24.1 %", "61.6", "9.030", "6.840", "17,100", "35.0 M", "19 min", "2.0 GiB", "config.toml"):
        assert part in text, part


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        ("masked-tokens", "Losses are in nats per item, on documents that"),
        ("mae", "Losses are the squared error per item, on"),
        ("wav2vec2", "Losses are means over items, on"),
    ],
)
def test_the_card_says_what_losses_are(tmp_path, objective, text):
    folder = finished(tmp_path / "sea")
    card.write(folder, Recipe(objective=(objective,)), RESULT, "data", "model")
    assert text in folder.card.read_text()


def test_metrics_in_one_line():
    assert card.describe_metrics(RESULT.metrics) == "masked tokens loss 4.12 (perplexity 62) · 24.1 % right"
    assert card.describe_metrics({"loss": 2.5}) == "loss 2.50"
    assert card.perplexity(1e9) < float("inf")


def test_a_finished_run_gives_its_result_without_work(tmp_path):
    folder, show = finished(tmp_path / "sea"), Recorded()
    result = show_finished(folder, show)
    assert (result.loss, result.steps, result.folder) == (4.12, 17_100, folder.path)
    assert "finished; nothing to do" in show.lines[0] and "17,100 steps · 35.0 M tokens · 19 min" in show.lines[1]


def test_runs_are_listed(tmp_path):
    finished(tmp_path / "a")
    made(tmp_path / "b", "interrupted")
    (tmp_path / "no-run").mkdir()
    show = Recorded()
    rows = runs.runs(root=tmp_path, show=show)
    assert [row["status"] for row in rows] == ["finished", "interrupted"]
    assert show.lines[0] == "a        pretrain · masked-tokens · finished · loss 4.12 · 24.1 % right · 19 min"
    assert runs.runs(root=tmp_path / "nothing") == []


def test_one_run_is_shown_and_several_are_compared(tmp_path):
    finished(tmp_path / "a", filled(Recipe(), optimizer={"lr": 1e-3}))
    finished(tmp_path / "b", filled(Recipe(), optimizer={"lr": 2e-3}))
    assert runs.runs(["a"], root=tmp_path)["result"]["loss"] == 4.12
    table = runs.runs(["a", "b"], root=tmp_path)
    assert [row["config"] for row in table.values()] == [{"optimizer.lr": 1e-3}, {"optimizer.lr": 2e-3}]


def test_only_runs_are_deleted_and_only_when_told(tmp_path):
    finished(tmp_path / "a")
    (tmp_path / "photos").mkdir()
    assert text_of(InputError, lambda: runs.runs(["photos"], delete=True, yes=True, root=tmp_path)) == (
        "photos: is no run folder of firth. There is: a."
    )
    assert text_of(InputError, lambda: runs.runs(["a"], delete=True, root=tmp_path)) == (
        f"firth runs --delete {tmp_path / 'a'}: would delete without asking. Add --yes to delete."
    )
    assert text_of(InputError, lambda: runs.runs(delete=True, root=tmp_path)) == (
        "firth runs --delete: names no run. Name the folders to delete; `firth runs` lists them."
    )
    runs.runs(["a"], delete=True, yes=True, dry_run=True, root=tmp_path)
    runs.runs(["a"], delete=True, root=tmp_path, ask=lambda _: False)
    assert (tmp_path / "a").is_dir()
    assert runs.runs(["a"], delete=True, root=tmp_path, ask=lambda _: True)[0]["deleted"]
    assert not (tmp_path / "a").exists() and (tmp_path / "photos").is_dir()


def test_a_damaged_run_hides_no_other(tmp_path):
    finished(tmp_path / "a")
    made(tmp_path / "b").facts_path.write_text('{"status": "fin')
    finished(tmp_path / "c")
    show = Recorded()
    assert [row["folder"] for row in runs.runs(root=tmp_path, show=show)] == [str(tmp_path / name) for name in "ac"]
    assert show.lines[1] == "b        cannot be read as the facts of a run"


def test_a_misspelt_run(tmp_path):
    finished(tmp_path / "reviews")
    assert text_of(InputError, lambda: runs.find("reviwes", tmp_path)) == (
        "reviwes: is no run folder of firth. Did you mean `reviews`? There is: reviews."
    )
    assert text_of(InputError, lambda: runs.find("x", tmp_path / "no")) == (
        f"x: is no run folder of firth. There is no run in {tmp_path / 'no'}."
    )


def test_facts_are_json_that_anybody_can_read(tmp_path):
    folder = finished(tmp_path / "a")
    assert json.loads(folder.facts_path.read_text())["result"]["steps"] == 17_100
