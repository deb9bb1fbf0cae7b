"""The peers of next_token.py: a plain loop over GPT2LMHeadModel, and Hugging Face `Trainer` over LlamaForCausalLM.

    python benchmarks/gpt_peers.py --kind loop --work DIR --steps 2000 --seed 0 --out DIR
    python benchmarks/gpt_peers.py --kind default|best --work DIR --shape shape.json --budget 90 --steps 900 --out DIR

`loop` is nanoGPT's CPU setting: 4 layers, 4 heads, width 128, context 64, batch 12, AdamW with betas 0.9 and 0.99,
weight decay 0.1 on matrices, learning rate 1e-3 to 1e-4 along a cosine after 100 steps, gradients clipped at 1, fp32.
`default` is Trainer under TrainingArguments' own values but batch 16. `best` is bf16 where the processor has it, the
attention that a rehearsal found fastest, learning rate 1e-3, linear decay.
"""

import argparse
import json
import math
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.peers import process_start, stop_at

CONTEXT, BATCH, WARMUP = 64, 12, 0.05  # tokens, rows, share of the steps
HIGH, LOW = 1e-3, 1e-4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["loop", "default", "best"], required=True)
    parser.add_argument("--work", type=Path, required=True, help="where next_token.py prepared the data")
    parser.add_argument("--shape", type=Path, help="arguments of LlamaConfig")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--budget", type=float, default=1e9)
    parser.add_argument("--batch", type=int, default=16, help="of Trainer")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="fp32", help="of best")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa", help="of best")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


# ------------------------------------------------------------------ a plain loop


def small_gpt(vocabulary: int):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=vocabulary, n_positions=CONTEXT, n_embd=128, n_layer=4, n_head=4, resid_pdrop=0.0,
                        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)  # fmt: skip
    return GPT2LMHeadModel(config)


def rate(step: int, steps: int) -> float:
    """Learning rate of update `step`."""
    rising = round(WARMUP * steps)
    if step < rising:
        return HIGH * (step + 1) / (rising + 1)
    share = (step - rising) / max(1, steps - rising)
    return LOW + 0.5 * (1 + math.cos(math.pi * share)) * (HIGH - LOW)


def loop(options: argparse.Namespace) -> tuple[int, float, object]:
    """Steps, seconds of the loop, the model."""
    import torch

    torch.manual_seed(options.seed)
    stream = torch.from_numpy(np.load(options.work / "train.npy").astype(np.int64))
    model = small_gpt(json.loads((options.work / "facts.json").read_text())["vocabulary"])
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=HIGH, betas=(0.9, 0.99))
    began = time.perf_counter()
    for step in range(options.steps):
        places = torch.randint(len(stream) - CONTEXT, (BATCH,)).tolist()
        rows = torch.stack([stream[place : place + CONTEXT + 1] for place in places])
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps)
        logits = model(input_ids=rows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return options.steps, time.perf_counter() - began, model


# ------------------------------------------------------------------ Trainer


class Rows:
    """The stream in rows (T,) as a dataset."""

    def __init__(self, folder: Path, context: int):
        stream = np.load(folder / "train.npy", mmap_mode="r")
        self.rows = stream[: len(stream) // context * context].reshape(-1, context)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        row = self.rows[index].tolist()
        return {"input_ids": row, "labels": row}


def settings(options: argparse.Namespace):
    from transformers import TrainingArguments

    common = {
        "output_dir": str(options.out), "max_steps": options.steps, "seed": options.seed, "save_strategy": "no",
        "logging_steps": 100, "report_to": [], "use_cpu": True, "disable_tqdm": True,
        "per_device_train_batch_size": options.batch,
    }  # fmt: skip
    if options.kind == "default":
        return TrainingArguments(**common)
    return TrainingArguments(
        **common, bf16=options.precision == "bf16", learning_rate=1e-3, lr_scheduler_type="linear",
        warmup_steps=max(1, options.steps // 20), weight_decay=0.01,
    )  # fmt: skip


def trainer(options: argparse.Namespace, start: float) -> tuple[int, float, object]:
    """Steps, seconds of training, the model."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, set_seed

    set_seed(options.seed)
    config = LlamaConfig(**json.loads(options.shape.read_text()))
    config._attn_implementation = options.attention if options.kind == "best" else None
    model = LlamaForCausalLM(config)
    context = json.loads((options.work / "facts.json").read_text())["context"]
    deadline = start + options.budget - 0.5
    made = Trainer(model=model, args=settings(options), train_dataset=Rows(options.work, context),
                   callbacks=[stop_at(deadline)])  # fmt: skip
    began = time.perf_counter()
    made.train()
    return made.state.global_step, time.perf_counter() - began, model


def main() -> None:
    """Train; write the model and figures.json."""
    options, start = arguments(), process_start()
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    steps, seconds, model = loop(options) if options.kind == "loop" else trainer(options, start)
    model.save_pretrained(options.out)  # type: ignore[attr-defined]
    row = CONTEXT * BATCH
    if options.kind != "loop":
        row = options.batch * json.loads((options.work / "facts.json").read_text())["context"]
    figures = {
        "steps": steps, "tokens": steps * row, "train_seconds": seconds, "step_seconds": seconds / max(steps, 1),
        "start_seconds": time.time() - start - seconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
