"""The switches of an encoder: every field that decides which weights there are and what is computed with them."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firth.functional.steps import field_and_stride

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


class SoundShape(BaseModel):
    """How sound becomes steps: frames joined and mapped, or convolutions over samples (wav2vec 2.0, arXiv 2006.11477,
    section 2) with a convolution that says where a step stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: int = Field(0, ge=0, description="numbers of a log-mel frame; 0: samples are read")
    join: int = Field(2, ge=1, description="frames that become one step")
    widths: tuple[int, ...] = Field((), description="channels after each convolution over samples")
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    norm: Literal["group", "layer"] = "group"  # of each channel after the first convolution, or of all after each
    bias: bool = False  # of the convolutions over samples
    activation: Activation = "gelu"  # after each convolution
    map_norm: bool = True  # normalise before the map to the width
    position_kernel: int = Field(128, ge=1, description="steps that the convolution over positions spans")
    position_groups: int = Field(16, ge=1, description="groups of channels it keeps apart")

    @model_validator(mode="after")
    def convolutions_agree(self) -> Self:
        if not self.bands and not len(self.widths) == len(self.kernels) == len(self.strides) > 0:
            raise ValueError("convolutions want as many widths as kernels and strides")
        return self

    @property
    def stride(self) -> int:
        """Units of the input (frames, samples) from one step to the next."""
        return self.join if self.bands else field_and_stride(self.kernels, self.strides)[1]

    @property
    def field(self) -> int:
        """Units of the input that a step sees."""
        return self.join if self.bands else field_and_stride(self.kernels, self.strides)[0]


class Shape(BaseModel):
    """One encoder's architecture. `shape_of` in model/sizes.py makes the usual ones, interop/ those of model folders.

    BERT: arXiv 1810.04805. ModernBERT: arXiv 2412.13663, section 2.1. Llama: arXiv 2307.09288, section 2.2. GPT-2:
    Radford et al. 2019, section 2.3. wav2vec 2.0: arXiv 2006.11477, section 2; HuBERT: arXiv 2106.07447, section II.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["bert", "modernbert", "llama", "gpt2", "frames", "causal-frames", "wav2vec2", "hubert"]
    layers: int = Field(gt=0)
    width: int = Field(gt=0, description="length of every step's vector")
    heads: int = Field(gt=0)
    key_heads: int = Field(
        0, ge=0, description="heads of keys and values, shared by the queries; 0: one for each query"
    )
    head_size: int = Field(0, ge=0, description="values of a head; 0: width / heads")
    intermediate: int = Field(gt=0, description="length of the vector inside the MLP, after gating")
    vocabulary: int = Field(ge=0, description="number of token ids; 0: it reads no tokens")
    positions: int = Field(ge=0, description="longest sample, in steps; a limit where positions are learned")
    segments: int = Field(0, ge=0, description="number of segment embeddings; 0: none")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of embedded, attended and MLP values set to zero")
    pad_id: int = 0

    causal: bool = False  # a step attends to itself and to earlier ones only
    tied: bool = True  # the output map over the vocabulary is the token embedding (arXiv 1608.05859)
    norm_kind: Literal["layer", "rms"] = "layer"  # rms: arXiv 1910.07467
    norm_placement: Literal["pre", "post"] = "pre"  # before each part, or after its residual sum
    norm_bias: bool = False
    norm_epsilon: float = 1e-5
    embed_norm: bool = True  # normalise the embedding
    first_norm: bool = False  # pre: normalise before the first attention too, though the embedding may be normalised
    bias: bool = False  # of the linear maps in attention and MLP
    head_bias: bool = False  # of the dense map of the heads
    activation: Activation = "gelu"
    gated: bool = True  # MLP: activation(a) * b (GeGLU, arXiv 2002.05202) or activation(a)
    position_kind: Literal["rotary", "learned", "convolved"] = "rotary"
    rope_global: float = 160_000.0  # base of the rotary wavelengths in layers that attend to every step
    rope_local: float = 10_000.0  # ... in layers that attend to a window
    window: int = 128  # steps; a local layer sees window // 2 steps to each side
    global_every: int = Field(1, gt=0, description="every n-th layer, the first included, is global; 1: all are")
    sound: SoundShape | None = None

    @model_validator(mode="before")
    @classmethod
    def leave_out_what_follows(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Equal architectures are equal values."""
        heads, size = values.get("heads"), values.get("head_size", 0)
        own = {"key_heads": 0} if values.get("key_heads") == heads else {}
        return {**values, **own, **({"head_size": 0} if heads and size * heads == values.get("width") else {})}

    @model_validator(mode="after")
    def heads_divide_width(self) -> Self:
        even = 2 if self.position_kind == "rotary" else 1
        if (self.head_size or self.width) % (even if self.head_size else self.heads * even):
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads of even length")
        return self

    @model_validator(mode="after")
    def queries_divide_into_key_heads(self) -> Self:
        if self.heads % self.groups:
            raise ValueError(f"{self.heads} heads do not divide into {self.groups} heads of keys")
        return self

    @property
    def head_width(self) -> int:
        """Values of a head."""
        return self.head_size or self.width // self.heads

    @property
    def groups(self) -> int:
        """Heads of keys and values; heads // groups queries share one (arXiv 2305.13245)."""
        return self.key_heads or self.heads

    def is_local(self, layer: int) -> bool:
        """True where the layer attends to a window only."""
        return layer % self.global_every != 0
