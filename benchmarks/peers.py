"""Hugging Face `Trainer` on given rows, under a wall budget: the peers of masked_tokens.py.

    python benchmarks/peers.py --kind fair|default --rows train.npy --tokenizer DIR --shape shape.json
        --budget 90 --steps 1200 --seed 0 --out DIR

`default` is BertForMaskedLM under TrainingArguments' own values (fp32, batch 64, learning rate 5e-5).
`fair` is ModernBertForMaskedLM, bf16, eager attention, batch 16, mask 0.30, learning rate 1e-3, linear decay.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path


def process_start() -> float:
    """Seconds since the epoch at which this process was started, from /proc."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    booted = next(int(x.split()[1]) for x in Path("/proc/stat").read_text().splitlines() if x.startswith("btime"))
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=["fair", "default"], required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="of the fair peer")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager", help="of the fair peer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def model(kind: str, shape: dict, attention: str):
    """A fresh model of the same layers, width and vocabulary as firth's."""
    import transformers

    if kind == "default":
        return transformers.BertForMaskedLM(transformers.BertConfig(**shape["bert"]))
    config = transformers.ModernBertConfig(**shape["modernbert"])
    config._attn_implementation = attention
    return transformers.ModernBertForMaskedLM(config)


class Rows:
    """The packed rows as a dataset: (N, T) token ids, no padding."""

    def __init__(self, path: str):
        import numpy as np

        self.rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return {"input_ids": self.rows[index].tolist()}


def stop_at(deadline: float):
    """A callback that ends training when the wall budget is spent."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop |= time.time() >= deadline

    return Stop()


def settings(kind: str, options: argparse.Namespace):
    from transformers import TrainingArguments

    common = {
        "output_dir": options.out, "max_steps": options.steps, "seed": options.seed, "save_strategy": "no",
        "logging_steps": 100, "report_to": [], "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    if kind == "default":
        return TrainingArguments(**common, per_device_train_batch_size=64)
    return TrainingArguments(
        **common, per_device_train_batch_size=16, bf16=options.precision == "bf16", learning_rate=1e-3,
        lr_scheduler_type="linear",
        warmup_steps=max(1, options.steps // 20), weight_decay=0.01,
    )  # fmt: skip


def main() -> None:
    """Train until the steps or the budget end; write the model and figures.json."""
    options, start = arguments(), process_start()
    import torch
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling, Trainer, set_seed

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    set_seed(options.seed)
    network = model(options.kind, json.loads(Path(options.shape).read_text()), options.attention)
    rate = 0.15 if options.kind == "default" else 0.30
    collator = DataCollatorForLanguageModeling(AutoTokenizer.from_pretrained(options.tokenizer), mlm_probability=rate)
    deadline = start + options.budget - 0.5
    trainer = Trainer(
        model=network, args=settings(options.kind, options), train_dataset=Rows(options.rows), data_collator=collator,
        callbacks=[stop_at(deadline)],
    )  # fmt: skip
    began = time.time()
    trainer.train()
    trained = time.time()
    network.save_pretrained(options.out)
    report(options, trainer.state.global_step, start, began, trained)


def report(options: argparse.Namespace, steps: int, start: float, began: float, trained: float) -> None:
    """Figures of this run: tokens/s over the whole budget, seconds per step, peak memory."""
    batch = 64 if options.kind == "default" else 16
    width = len(Rows(options.rows)[0]["input_ids"])
    wall = time.time() - start
    figures = {
        "steps": steps, "tokens": steps * batch * width, "wall_seconds": wall, "start_seconds": began - start,
        "step_seconds": (trained - began) / max(steps, 1), "tokens_per_second": steps * batch * width / wall,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    (Path(options.out) / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
