"""Llama folders that transformers writes with random weights, and tokenizers of every kind beside them."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.material import documents

END, UNKNOWN = "<|endoftext|>", "<|unknown|>"
FOREIGN = "Zoë's café, naïve “quotes” … 東京 привет 🙂"  # characters of one to four bytes


def texts() -> list[str]:
    return [*documents(60), FOREIGN]


def byte_level(vocabulary: int = 400, lowercase: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return framed(tokenizer)


def of_bytes() -> Tokenizer:
    """A token for each byte, no pairs."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate([END, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return framed(tokenizer)


def of_characters() -> Tokenizer:
    """A token for each character of the texts, as it is; others are unknown."""
    letters = sorted(set("".join(texts())) | {"\n"})
    vocabulary = {piece: i for i, piece in enumerate([END, UNKNOWN, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
    tokenizer.decoder = decoders.Fuse()
    return framed(tokenizer, UNKNOWN)


def of_pieces() -> Tokenizer:
    """WordPiece, which llama.cpp reads for encoders only."""
    vocabulary = {piece: i for i, piece in enumerate([END, UNKNOWN, *"abcdefg"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return framed(tokenizer, UNKNOWN)


def framed(tokenizer: Tokenizer, *others: str) -> Tokenizer:
    """An end token before each text."""
    tokenizer.add_special_tokens([END, *others])
    ends = [(END, tokenizer.token_to_id(END))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", pair=None, special_tokens=ends)
    return tokenizer


KINDS = {"bpe": byte_level, "bytes": of_bytes, "characters": of_characters}


def write_llama(folder: Path, tokenizer: Tokenizer, seed: int = 0, **own) -> Path:
    """A folder of LlamaForCausalLM: 2 layers × 32, 4 heads on 2 of keys, untied, unless `own` says otherwise."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    end = tokenizer.token_to_id(END)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": tokenizer.get_vocab_size()}
    config = LlamaConfig(**sizes | {"bos_token_id": end, "eos_token_id": end, "initializer_range": 0.3} | own)
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    unknown = {"unk_token": UNKNOWN} if tokenizer.token_to_id(UNKNOWN) is not None else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, **unknown).save_pretrained(folder)
    return folder
