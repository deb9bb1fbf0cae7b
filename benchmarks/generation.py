"""firth's writing against transformers.generate: same weights, same prompts, greedy, in turn; tokens must be equal.

    python benchmarks/generation.py [--model FOLDER] [--batches 1,16] [--tokens 128] [--rounds 5] [--threads 2]

Without --model: a Llama of 4 layers × 256 with random weights and 8,192 tokens. fp32 on both sides; transformers with
its key-value cache and its own choice of attention. No row ends early, so that both write the same number of tokens.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder of next tokens; default: a random one")
    parser.add_argument("--size", default="4x256", help="of the random one")
    parser.add_argument("--shape", choices=["llama", "gpt2"], default="llama")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="that are written to each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def random_model(folder: Path, given: argparse.Namespace) -> Path:
    """A folder with weights wide enough that no two tokens are about equally likely."""
    import torch

    from firth.interop.folder import save_folder
    from firth.model.embedding import TokenEmbedding
    from firth.model.encoder import Backbone
    from firth.model.init import initialise
    from firth.model.sizes import shape_of
    from firth.objective import Composed
    from firth.objectives.next_token import Config, NextToken

    shape = shape_of(given.shape, given.size, vocabulary=8192, positions=given.prompt + given.tokens + 1)
    backbone = Backbone(shape, TokenEmbedding(shape))
    objective = Composed(backbone, {"next-token": NextToken(Config(), backbone)})
    initialise(objective, shape, 0)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    save_folder(folder, shape, objective.state_dict(), facts={"objective": ["next-token"]})
    return folder


def ours(folder: Path, context: int):
    """prompts (B, T) → tokens (B, N)."""
    from firth.interop.folder import open_folder
    from firth.model.embedding import TokenEmbedding
    from firth.model.encoder import Backbone
    from firth.model.generate import Writer
    from firth.model.heads import OutputMap
    from firth.model.sampling import Writing

    opened = open_folder(folder)
    backbone = Backbone(opened.shape, TokenEmbedding(opened.shape))
    backbone.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in opened.state.items()
                              if name.startswith("backbone.")})  # fmt: skip
    head = OutputMap(opened.shape, backbone.embed.word.weight)  # type: ignore[union-attr, arg-type]
    backbone.eval()

    def write(prompts: np.ndarray, tokens: int) -> np.ndarray:
        writer = Writer(backbone, head, prompts.tolist(), Writing(tokens=tokens, temperature=0.0), context)
        while not writer.over:
            writer.step()
        return np.array(writer.written)

    return write


def theirs(folder: Path):
    """The same by transformers.generate."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def write(prompts: np.ndarray, tokens: int) -> np.ndarray:
        ids = torch.from_numpy(prompts)
        how = GenerationConfig(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, use_cache=True,
                               pad_token_id=0)  # fmt: skip
        found = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
        return found[:, ids.shape[1] :].numpy()

    return write


def measured(write, prompts: np.ndarray, tokens: int) -> tuple[float, np.ndarray]:
    """Tokens per second, and the tokens."""
    began = time.perf_counter()
    found = write(prompts, tokens)
    return found.size / (time.perf_counter() - began), found


def compare(batch: int, sides: dict, given: argparse.Namespace, vocabulary: int) -> None:
    """Both sides in turn; the first round warms up and is not counted."""
    prompts = np.random.default_rng(batch).integers(5, vocabulary, (batch, given.prompt))
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    equal = True
    for number in range(given.rounds + 1):
        found = {name: measured(write, prompts, given.tokens) for name, write in sides.items()}
        equal &= np.array_equal(*(tokens for _, tokens in found.values()))
        for name, (speed, _) in found.items():
            speeds[name] += [speed] * bool(number)
    each = [a / b for a, b in zip(speeds["firth"], speeds["transformers"], strict=True)]
    told = " · ".join(f"{name} {median(values):,.0f} tokens/s" for name, values in speeds.items())
    same = "equal tokens" if equal else "TOKENS DIFFER"
    print(
        f"batch {batch:>2}: {told} · x {median(each):.2f} ({', '.join(f'{x:.2f}' for x in each)}) · {same}", flush=True
    )


def main() -> None:
    given = options()
    import torch

    from firth.interop.folder import open_shape

    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.model or random_model(Path(scratch) / "model", given)
        shape = open_shape(folder)
        sides = {"firth": ours(folder, shape.positions), "transformers": theirs(folder)}
        print(f"{shape.name} · {shape.layers} layers × {shape.width} · {given.threads} threads · "
              f"{given.prompt} tokens read, {given.tokens} written · medians of {given.rounds} rounds")  # fmt: skip
        for batch in map(int, given.batches.split(",")):
            compare(batch, sides, given, shape.vocabulary)


if __name__ == "__main__":
    main()
