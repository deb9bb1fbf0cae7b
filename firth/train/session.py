"""One sitting of a run: prepare or resume, train, log, save, say how it ended."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from firth import distributed
from firth.errors import FirthError, InputError, Interrupted
from firth.interop.folder import opens_elsewhere, save_folder
from firth.recipe import Recipe
from firth.signal import Facts, Finding
from firth.train import along, card, gallery, machine, prepare
from firth.train.budget import Budget, Clock
from firth.train.checkpoint import Checkpoints
from firth.train.describe import size
from firth.train.folder import RunFolder, locked, refuse_taken, writing
from firth.train.log import Log, Recorded, read_metrics
from firth.train.loop import train
from firth.train.pace import Pace
from firth.train.prepare import Work
from firth.train.pretrain import Result, describe
from firth.train.run import Run, Step
from firth.train.samples import Pictures, Samples
from firth.train.watch import Watch, said

ROWS = 1000  # about so many steps are logged
NEXT = 2  # commands that are named at the end, at most


def run(
    recipe: Recipe,
    budget: Budget,
    folder: RunFolder,
    asked: dict[str, Any],
    clock: Clock,
    show: Recorded,
    dry_run: bool,
) -> Result:
    """Prepare (or take up again), train, finish. dry_run ends with the plan.

    Of several ranks the main one alone holds the folder, and writes into it. It does so after sums over all of them, so
    the others have seen by then whether there was a run to go on with.
    """
    refuse_timed_ranks(budget)
    work = Work(recipe, budget, clock, show, folder.path)
    with prepare.own_threads():
        if folder.status == "unfinished":
            with nullcontext() if dry_run else held(folder):
                resume(work, folder)
                return planned(work, folder) if dry_run else trained(work, folder)
        prepared(work, folder)
        if dry_run:
            return planned(work, folder)
        with held(folder):
            if distributed.is_main():
                refuse_taken(folder)
                folder.create(work.recipe, asked=asked, seed=work.recipe.seed, **machine.facts(), **work.facts)
            return trained(work, folder)


def held(folder: RunFolder) -> AbstractContextManager:
    """The folder, locked against other commands."""
    return locked(folder) if distributed.is_main() else nullcontext()


def prepared(work: Work, folder: RunFolder) -> None:
    """Measuring trains, too, and stops like a run; but there is no run yet."""
    try:
        prepare.fresh(work)
    except Interrupted:
        what = "stopped while the run was prepared; nothing was written"
        raise Interrupted(folder, what, "The same command begins again.") from None


def planned(work: Work, folder: RunFolder) -> Result:
    """The end of a dry run."""
    work.show.note(f"Nothing was trained or written; {folder} is free for the run.")
    return Result(folder.path, plan=work.facts.get("plan") or {}, status="planned", seconds=work.clock.spent)


def refuse_timed_ranks(budget: Budget) -> None:
    """Ranks measure different times and would plan different runs."""
    if distributed.world() > 1 and budget.kind == "seconds":
        raise InputError(
            f"--budget {budget.amount:g}s",
            f"cannot be measured alike on {distributed.world()} ranks",
            "Give the budget in steps, epochs or tokens.",
        )


def resume(work: Work, folder: RunFolder) -> None:
    """The recipe and the plan of the folder; the data must be what it was."""
    work.recipe, facts = folder.recipe, folder.facts
    checkpoints = Checkpoints(folder.checkpoints)
    found = work.found = checkpoints.newest()
    work.notes = checkpoints.notes if found else []
    work.show.note(f"{folder} is unfinished; going on from {f'step {found.step:,}' if found else 'its start'}.")
    prepare.again(work)
    before, now = facts.get("data", {}).get("fingerprint"), work.corpus.fingerprint
    if before != now:
        raise InputError(
            ", ".join(work.recipe.data.paths),
            f"is not the data {folder} was begun with",
            f"Put the former files back, or delete the run: firth runs --delete {folder}.",
        )
    work.facts = facts | {"data": work.facts["data"]}


def trained(work: Work, folder: RunFolder) -> Result:
    """Train to the end, whatever it is; the status in run.json says which."""
    job = Run(
        objective=work.objective,
        batches=work.train,
        recipe=work.recipe,
        folder=folder,
        valid=work.valid,
        device=work.device,
        evaluate_first=True,
        unit=work.signal.unit.steps,
        found=work.found,
        notes=work.notes,
    )
    work.found = None
    diary = Diary(work, folder, job)
    if distributed.world() > 1 and any(part.collapses for part in work.objective.objectives):
        work.show.note("On several ranks vectors are not watched as the run goes on: a collapse raises no alarm.")
    pace = Pace(work.budget, folder, job, lambda: work.clock.spent, work.show.note)
    try:
        with writing(folder.path):
            for step in train(job):
                diary.write(step)
                work.show.progress(step, job)
                work.recipe = pace.keep(step) or work.recipe
            work.clock.lap("training")
            return finish(work, folder, job, diary)
    except FirthError as error:
        diary.ended(error)
        raise
    finally:
        diary.close()


class Diary:
    """Writes metrics.jsonl, train.log and the samples while the loop goes on."""

    def __init__(self, work: Work, folder: RunFolder, job: Run):
        self.work, self.folder, self.job = work, folder, job
        self.every = max(1, (job.steps or 1) // ROWS)
        self.samples = Samples(work.recipe, work.signal, work.held_out, folder.samples)
        self.pictures = Pictures(work.recipe, work.signal, work.held_out, folder.samples)
        self.watch = Watch(job.objective, work.signal, work.source, work.held_out, work.recipe.seed, work.device)
        self.along = along.Along(work.recipe, work.signal, job.steps or 1)
        self.log: Log | None = None
        self.tokens = 0
        self.before = 0.0  # seconds of earlier sittings
        self.evaluation: dict[str, float] = {}

    def write(self, step: Step) -> None:
        """One step. The log is opened at the first, when it is known from where the loop goes on."""
        if not distributed.is_main():
            self.evaluation = step.evaluation or self.evaluation
            return
        log = self.log or self.open()
        self.tokens += step.items
        if step.items and (step.index % self.every == 0 or step.evaluation or step.index == self.job.steps):
            log.metrics(step.index, **self.row(step))
        with prepare.build.uncompiled(self.work.recipe):
            if step.evaluation:
                self.evaluated(log, step)
            if step.index not in self.asked and (found := self.answers(step)):
                log.metrics(step.index, answers=found, elapsed=self.elapsed)
                log.text(f"step {step.index:,} of {step.steps:,}: {along.described(found)}")

    def open(self) -> Log:
        """Drop what was logged after the step the run goes on from; take up the counts."""
        rows = [row for row in read_metrics(self.folder.metrics) if row["step"] <= self.job.resumed]
        last = rows[-1] if rows else {}
        self.before = last.get("elapsed", 0.0)
        self.tokens = round(last.get("tokens", 0) * self.job.resumed / max(last.get("step", 0), 1))
        self.log = Log(self.folder.metrics, self.folder.log, self.job.resumed)
        for text in [*self.work.show.lines, *self.job.notes]:
            self.log.text(text)
        for note in self.job.notes:
            self.work.show.note(note)
        self.seen, self.asked = ({row["step"] for row in rows if key in row} for key in ("held_out", "answers"))
        self.watch.history = [(row["step"], row["vectors"]) for row in rows if "vectors" in row]
        return self.log

    def row(self, step: Step) -> dict[str, Any]:
        numbers = {"loss": step.loss, **step.metrics, "lr": step.lr, "gradient_norm": step.gradient_norm}
        return numbers | {"seconds": step.seconds, "tokens": self.tokens, "elapsed": self.elapsed}

    def answers(self, step: Step) -> dict[str, float]:
        return self.along.answers(step.index, step.index == step.steps, self.job.objective)

    @property
    def elapsed(self) -> float:
        """Wall seconds over all sittings."""
        return self.before + self.work.clock.spent

    def evaluated(self, log: Log, step: Step) -> None:
        """Held-out means, and what the model now makes of five sentences."""
        self.evaluation = step.evaluation or {}
        if step.index in self.seen:
            return
        warned, reading = self.watch.alarm is not None, self.watch.read(step.index)
        log.metrics(step.index, held_out=with_perplexity(self.work.recipe, self.evaluation),
                    **({"vectors": reading} if reading else {}), tokens=self.tokens, elapsed=self.elapsed)  # fmt: skip
        log.text(f"step {step.index:,} of {step.steps:,}: held-out {card.describe_metrics(self.evaluation)}")
        for finding in ailing(self.work.recipe, self.evaluation):
            log.text(f"  {finding.what}. {finding.do}")
            self.work.show.note(f"step {step.index:,}: {finding.what}. {finding.do}")
        if reading:
            log.text(f"  vectors: {said(reading)}")
        if self.watch.alarm is not None and not warned:
            log.text(str(self.watch.alarm))
            self.work.show.note(str(self.watch.alarm))
        for text in self.samples.write(step.index, self.job.objective):
            log.text(f"  {text}")
        self.pictures.write(step.index, self.job.objective)

    def ended(self, error: FirthError) -> None:
        """The status of a run that did not come to its end; a disk that refuses even this changes nothing."""
        if not distributed.is_main():
            return
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        try:
            if self.log:
                self.log.text(str(error))
            self.folder.update(status=status, error=str(error))
        except (OSError, FirthError):
            return

    def close(self) -> None:
        if self.log:
            self.log.close()


def ailing(recipe: Recipe, evaluation: dict[str, float]) -> list[Finding]:
    """What the objectives find wrong with an evaluation."""
    return [one for config in prepare.build.configs_of(recipe).values() for one in config.ailing(evaluation)]


def with_perplexity(recipe: Recipe, evaluation: dict[str, float]) -> dict[str, float]:
    """Adds <term>_perplexity for objectives that guess tokens."""
    tokens = [term for name, term in prepare.terms_of(recipe) if prepare.chance(recipe, name) and term in evaluation]
    return evaluation | {f"{term}_perplexity": card.perplexity(evaluation[term]) for term in tokens}


def finish(work: Work, folder: RunFolder, job: Run, diary: Diary) -> Result:
    """Save the model folder, the result, the card; then say so."""
    if distributed.is_main():
        save_model(work, folder.model, job)
        with prepare.build.uncompiled(work.recipe):
            gallery.write(diary.watch, work.signal, work.source, folder.samples, work.recipe.seed, work.device)
    metrics = with_perplexity(work.recipe, diary.evaluation)
    result = Result(
        folder.path,
        loss=metrics.get("loss"),
        accuracy=next((value for name, value in reversed(metrics.items()) if name.endswith("accuracy")), None),
        seconds=diary.elapsed,
        steps=job.steps or 0,
        tokens=diary.tokens,
        metrics=metrics,
        random_loss=(work.facts.get("random_loss") or {}).get("loss"),
        first_loss=(work.facts.get("first_loss") or {}).get("loss"),
        peak_memory=machine.peak_memory(),
        vectors=dict(diary.watch.history[-1][1]) if diary.watch.history else {},
        collapse=str(diary.watch.alarm) if diary.watch.collapsed else None,
        plan=work.facts.get("plan") or {},
    )
    work.clock.lap("saving")
    result = replace(result, seconds=diary.elapsed)
    if distributed.is_main():
        folder.update(status="finished", error=None, result=result.as_dict() | {"folder": folder.path.name},
                      seconds=work.clock.parts)  # fmt: skip
        card.write(folder, work.recipe, result, prepare.build.describe_data(work.corpus),
                   prepare.build.describe_model(work.shape, work.objective), work.signal.unit,
                   opens_elsewhere(folder.model))  # fmt: skip
        show_result(work, folder, result)
    return result


def show_result(work: Work, folder: RunFolder, result: Result) -> None:
    work.line("Result", f"{describe(result)} · {size(result.peak_memory)} memory")
    opens = "opens with transformers" if opens_elsewhere(folder.model) else "opens with firth"
    work.line("Saved", f"{folder.model} ({opens}) · {folder.card}")
    for number, use in enumerate(card.uses(work.recipe)[:NEXT]):
        work.line("" if number else "Next", use.format(folder))
    work.show.result(result)


def ends(facts: Facts) -> dict[str, Any]:
    """Of a stream of texts: the token that begins and ends one, and those that are never written."""
    if facts.end_id < 0:
        return {}
    never = sorted(set(facts.special_ids) - {facts.end_id})
    return {"bos_token_id": facts.end_id, "eos_token_id": facts.end_id, "suppress_tokens": never}


def save_model(work: Work, place: Path, job: Run) -> None:
    """Weights, shape and signal in Hugging Face layout; under another name first, so that model/ is always whole."""
    partial = place.with_name(".model-partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    facts = {"steps": job.steps, "objective": list(work.recipe.objective), "signal": work.recipe.signal}
    facts |= ends(work.signal.facts)
    save_folder(partial, work.shape, job.state_dict(), facts=facts)
    work.signal.save(partial)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(partial, place)
