"""Keeps a run to its time budget where the machine is slower or faster than it was when the plan was made.

Under warm-up, stable, decay, a run whose end is moved while the rate is stable is the very run that was planned so from
the beginning, but for the length of the warm-up, which is therefore written down, too. So config.toml, which is
rewritten, still repeats the run bit for bit, and a run that was killed goes on under the new plan.
"""

import math
from collections import deque
from collections.abc import Callable

from firth.recipe import Recipe, filled, to_toml
from firth.train.budget import Budget
from firth.train.folder import RunFolder, write_atomically
from firth.train.plan import AIM, FINISH
from firth.train.run import Run, Step

CHECKS = 40  # over a run: how often the pace is looked at
LATE = 1.01  # of the budget; an end foreseen beyond it draws the end nearer
EARLY = 0.94  # of the budget; an end foreseen before it is put off
LOOKS = 6  # over which the seconds of a step are averaged: a single slow step is no slow machine


class Pace:
    """elapsed: seconds since the command began. note: where a person is told."""

    def __init__(
        self, budget: Budget, folder: RunFolder, job: Run, elapsed: Callable[[], float], note: Callable[[str], None]
    ):
        self.budget, self.folder, self.job, self.elapsed, self.note = budget, folder, job, elapsed, note
        train = job.recipe.train
        self.rising = round(train.warmup * job.steps)
        self.every = max(1, job.steps // CHECKS)
        self.kept = budget.kind == "seconds" and train.schedule == "wsd"
        self.looks: deque[tuple[int, float]] = deque(maxlen=LOOKS)  # steps done, seconds of training in them
        self.began, self.training = elapsed(), 0.0  # seconds: when this was made; in steps since then
        self.planned = between(folder.facts.get("plan"))

    def keep(self, step: Step) -> Recipe | None:
        """Look at the time, after any step; the changed recipe where the end was moved."""
        now = self.elapsed()
        self.training += step.seconds
        if not self.kept or self.job.resumed or step.index < self.rising or step.index % self.every:
            return None
        self.looks.append((step.index, self.training))
        if len(self.looks) < LOOKS:
            return None
        (first, before), (last, after) = self.looks[0], self.looks[-1]
        seconds, ends = (after - before) / (last - first), now + self.rest(step, now)
        foreseen = (ends + (step.steps - step.index) * seconds) / self.budget.amount
        if EARLY <= foreseen <= LATE or not self.stable(step):
            return None
        fitting = step.index + int((AIM * self.budget.amount - ends) / seconds)
        return self.move(step, max(fitting, self.soonest(step)))

    def rest(self, step: Step, now: float) -> float:
        """Seconds of evaluations, checkpoints and the end that are still to come: as planned, or more where those so
        far took more. They are few, and would count too much if they were part of a step of late."""
        passed = max(0.0, now - self.began - self.training)
        return max(self.planned - passed, FINISH + passed * (step.steps - step.index) / step.index)

    def stable(self, step: Step) -> bool:
        """Whether the rate has not begun to fall."""
        return self.soonest(step) <= step.steps

    def soonest(self, step: Step) -> int:
        """The fewest steps under which the fall of the rate would not have begun yet."""
        return math.ceil((step.index + 1) / (1 - min(self.job.recipe.train.decay, 0.99)))

    def move(self, step: Step, steps: int) -> Recipe | None:
        """Another end; the next move is made by what is seen from here on."""
        if steps == step.steps:
            return None
        self.looks.clear()
        changed = {"steps": steps, "warmup": self.rising / steps, "evaluate_every": self.evaluate_every(steps)}
        recipe = filled(self.job.recipe, train=changed)
        write_atomically(self.folder.config, to_toml(recipe))
        self.folder.update(replanned=[*(self.folder.facts.get("replanned") or []), [step.index, steps]])
        self.job.recipe, self.job.steps = recipe, steps
        how, why = ("Faster", "to use the time") if steps > step.steps else ("Slower", "to end in time")
        self.note(f"{how} than measured: {steps:,} steps instead of {step.steps:,}, {why}.")
        return recipe

    def evaluate_every(self, steps: int) -> int | None:
        """As many evaluations as before, spread over the steps there are now; a person's own interval stays."""
        every = self.job.recipe.train.evaluate_every
        if not every or (self.folder.facts.get("asked") or {}).get("train.evaluate_every"):
            return every
        return -(-steps // max(1, round(self.job.steps / every)))


def between(plan: dict | None) -> float:
    """Seconds that a plan, as run.json has it, gives to what lies between the steps and after them."""
    if not plan or not plan["seconds"]:
        return FINISH
    return plan["seconds"] - plan["spent"] - plan["tokens"] / plan["tokens_per_second"]
