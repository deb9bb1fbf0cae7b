"""A step of wav2vec 2.0 against `Wav2Vec2ForPreTraining` of transformers in its own loop: the same size and weights.

    python benchmarks/wav2vec2.py [--size 4x192] [--batch 8] [--seconds 4] [--steps 6] [--rounds 3] [--threads 2]

Arms, in turn, A B C … A B C …: transformers as it is (fp32), in bf16 by autocast with each kind of attention, and firth
in fp32 and bf16. Their step is that of transformers' example for pre-training: masks and negatives by its functions,
loss over the number of masked steps, clipping, AdamW, the temperature. firth's is that of its loop, data and masks
included (made beside the step, by a thread of their own). Audio-seconds per second; the median over the rounds.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

RATE = 16_000
TEMPERATURES = (2.0, 0.5, 0.999995)  # first, last, factor a step: arXiv 2006.11477, section 4.2
ARMS = ("theirs fp32", "theirs bf16 eager", "theirs bf16 sdpa", "firth fp32", "firth bf16")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="4x192")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a clip")
    parser.add_argument("--steps", type=int, default=6, help="of an arm in a round; the first two are not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--cpu", action="store_true", help="processor seconds, for one thread on a busy machine")
    return parser.parse_args()


def clips(given: argparse.Namespace) -> list:
    """Noise, as long as asked for."""
    import numpy as np

    from firth.signal import Sample

    drawn = np.random.default_rng(0)
    size = round(given.seconds * RATE)
    return [Sample((drawn.normal(0, 3000, size).astype(np.int16),), key=key) for key in range(4 * given.batch)]


def run_of(given: argparse.Namespace, precision: str):
    """firth's run over the clips."""
    from firth.data.sampler import Batches
    from firth.data.source import ListSource
    from firth.recipe import Model, Recipe, Train
    from firth.signals.speech import Config, Speech
    from firth.train import build
    from firth.train.run import Run

    train = Train(steps=given.steps, batch=given.batch, precision=precision, attention="plain")
    recipe = Recipe(signal="speech", objective=("wav2vec2",), model=Model(size=given.size, start="random"), train=train)
    signal = Speech(Config(front="wave"))
    recipe = build.fill(recipe, signal)
    objective = build.compose(recipe, signal)
    build.apply_choices(recipe, objective)
    return Run(objective, Batches(ListSource(clips(given)), signal, objective.configs, 0, batch=given.batch), recipe)


def ours(given: argparse.Namespace, precision: str) -> float:
    """Seconds of a step."""
    from firth.train.loop import train

    clock, found = clock_of(given), []
    began = clock()
    for _ in train(run_of(given, precision)):
        found.append(clock() - began)
        began = clock()
    return median(found[2:])


def clock_of(given: argparse.Namespace):
    return time.process_time if given.cpu else time.perf_counter


class Theirs:
    """Their model with firth's first weights, and its step."""

    def __init__(self, given: argparse.Namespace, folder: Path, attention: str | None, bf16: bool):
        import torch
        import transformers

        own = {} if attention is None else {"attn_implementation": attention}
        self.model = transformers.Wav2Vec2ForPreTraining.from_pretrained(folder, **own).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.given, self.bf16, self.done = given, bf16, 0
        self.waves = torch.randn(given.batch, round(given.seconds * RATE))

    def batch(self) -> dict:
        import torch
        from transformers.models.wav2vec2 import modeling_wav2vec2 as theirs

        steps = int(self.model._get_feat_extract_output_lengths(self.waves.shape[1]))
        size = (len(self.waves), steps)
        hidden = theirs._compute_mask_indices(size, 0.65, 10)
        others = theirs._sample_negative_indices(size, self.model.config.num_negatives, hidden)
        return {
            "input_values": self.waves,
            "mask_time_indices": torch.from_numpy(hidden),
            "sampled_negative_indices": torch.from_numpy(others).long(),
        }

    def step(self) -> None:
        import torch

        batch = self.batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.model(**batch).loss / batch["mask_time_indices"].sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        first, last, factor = TEMPERATURES
        self.done += 1
        self.model.set_gumbel_temperature(max(first * factor**self.done, last))

    def seconds(self) -> float:
        clock, found = clock_of(self.given), []
        for _ in range(self.given.steps):
            began = clock()
            self.step()
            found.append(clock() - began)
        return median(found[2:])


def measured(given: argparse.Namespace, arm: str, folder: Path) -> float:
    """Audio-seconds per second."""
    whose, precision, *kernel = arm.split()
    if whose == "firth":
        seconds = ours(given, precision)
    else:
        seconds = Theirs(given, folder, kernel[0] if kernel else None, precision == "bf16").seconds()
    return given.batch * given.seconds / seconds


def main() -> None:
    given = options()
    import torch

    from firth.interop.folder import save_folder
    from firth.train.build import parameters

    torch.set_num_threads(given.threads)
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        run = run_of(given, "fp32")
        save_folder(folder, run.objective.backbone.shape, run.objective.state_dict())
        print(f"{given.size}, {parameters(run.objective):,} parameters, {given.batch} clips of {given.seconds:g} s")
        for _ in range(given.rounds):
            for arm in given.arms.split(","):
                found[arm].append(measured(given, arm, Path(folder)))
                print(f"  {arm}: {found[arm][-1]:.1f}", flush=True)
    for arm, rates in found.items():
        print(f"{arm:<18} {median(rates):8.1f} audio-seconds/s   ({', '.join(f'{rate:.1f}' for rate in rates)})")


if __name__ == "__main__":
    main()
