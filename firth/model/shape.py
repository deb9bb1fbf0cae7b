"""The switches of an encoder: every field that decides which weights there are and what is computed with them."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firth.functional.steps import field_and_stride, steps_of

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
LAYERS, WIDTH, MANY = 9_999, 999_999, 2**31 - 1  # at most; those of size LAYERSxWIDTH. A config.json may say anything
SIDE = 2**16  # at most: channels, kernels, strides, pixels of a side
Positive = Annotated[int, Field(gt=0, le=SIDE)]
Base = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SoundShape(BaseModel):
    """How sound becomes steps: frames joined and mapped, or convolutions over samples (wav2vec 2.0, arXiv 2006.11477,
    section 2) with a convolution that says where a step stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: int = Field(0, ge=0, le=SIDE, description="numbers of a log-mel frame; 0: samples are read")
    join: int = Field(2, ge=1, le=SIDE, description="frames that become one step")
    widths: tuple[Positive, ...] = Field((), description="channels after each convolution over samples")
    kernels: tuple[Positive, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[Positive, ...] = (5, 2, 2, 2, 2, 2, 2)
    norm: Literal["group", "layer"] = "group"  # of each channel after the first convolution, or of all after each
    bias: bool = False  # of the convolutions over samples
    activation: Activation = "gelu"  # after each convolution
    map_norm: bool = True  # normalise before the map to the width
    position_kernel: int = Field(128, ge=1, le=SIDE, description="steps that the convolution over positions spans")
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

    @property
    def weights(self) -> int:
        """Roughly how many numbers are learnt."""
        ins = (1, *self.widths)
        return sum(kernel * one * two for kernel, one, two in zip(self.kernels, ins, self.widths, strict=False))

    def activations(self, length: int) -> int:
        """Roughly how many numbers of a sample of so many units are held for the gradient."""
        held, steps = length * self.bands, length
        for width, stride in zip(self.widths, self.strides, strict=False):
            steps //= stride
            held += 4 * width * steps  # before and after the convolution, the norm, the activation
        return held


class Shape(BaseModel):
    """One transformer's architecture. `shape_of` in model/sizes.py makes the usual ones, interop/ those of folders.

    BERT: arXiv 1810.04805. ModernBERT: arXiv 2412.13663, section 2.1. Llama: arXiv 2307.09288, section 2.2. GPT-2:
    Radford et al. 2019, section 2.3. ViT: arXiv 2010.11929, section 3.1. wav2vec 2.0: arXiv 2006.11477, section 2;
    HuBERT: arXiv 2106.07447, section II.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    can_drop: ClassVar[bool] = True  # there is dropout in it

    name: Literal["bert", "modernbert", "llama", "gpt2", "vit", "frames", "causal-frames", "wav2vec2", "hubert"]
    layers: int = Field(gt=0, le=LAYERS)
    width: int = Field(gt=0, le=WIDTH, description="length of every step's vector")
    heads: int = Field(gt=0, le=WIDTH)
    key_heads: int = Field(
        0, ge=0, description="heads of keys and values, shared by the queries; 0: one for each query"
    )
    head_size: int = Field(0, ge=0, le=SIDE, description="values of a head; 0: width / heads")
    intermediate: int = Field(gt=0, le=MANY, description="length of the vector inside the MLP, after gating")
    vocabulary: int = Field(0, ge=0, le=MANY, description="number of token ids; 0 where no tokens are read")
    positions: int = Field(
        0, ge=0, le=MANY, description="longest sample, in steps; a limit where positions are learned"
    )
    segments: int = Field(0, ge=0, le=SIDE, description="number of segment embeddings; 0: none")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of embedded, attended and MLP values set to zero")
    pad_id: int = 0
    image: int = Field(0, ge=0, le=SIDE, description="side of a picture, in pixels; 0 where no pixels are read")
    patch: int = Field(0, ge=0, le=2**12, description="side of a patch, in pixels")
    channels: int = Field(0, ge=0, le=SIDE, description="numbers of a pixel")

    causal: bool = False  # a step attends to itself and to earlier ones only
    tied: bool = True  # the output map over the vocabulary is the token embedding (arXiv 1608.05859)
    norm_kind: Literal["layer", "rms"] = "layer"  # rms: arXiv 1910.07467
    norm_placement: Literal["pre", "post"] = "pre"  # before each part, or after its residual sum
    norm_bias: bool = False
    norm_epsilon: float = Field(1e-5, ge=0, allow_inf_nan=False)
    embed_norm: bool = True  # normalise the embedding
    first_norm: bool = False  # pre: normalise before the first attention too, though the embedding may be normalised
    bias: bool = False  # of the linear maps in attention and MLP
    head_bias: bool = False  # of the dense map of the heads
    activation: Activation = "gelu"
    gated: bool = True  # MLP: activation(a) * b (GeGLU, arXiv 2002.05202) or activation(a)
    position_kind: Literal["rotary", "learned", "convolved"] = "rotary"
    rope_global: Base = 160_000.0  # base of the rotary wavelengths in layers that attend to every step
    rope_local: Base = 10_000.0  # ... in layers that attend to a window
    window: int = Field(128, ge=0)  # steps; a local layer sees window // 2 steps to each side
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

    @model_validator(mode="after")
    def inputs_fit(self) -> Self:
        if self.patch > self.image:
            raise ValueError(f"patches of {self.patch} pixels do not fit into pictures of {self.image}")
        if self.sound is not None and not self.sound.bands and self.width % self.sound.position_groups:
            raise ValueError(f"width {self.width} does not divide into {self.sound.position_groups} groups")
        return self

    @property
    def kept(self) -> dict[str, Any]:
        """What a recipe keeps of it, as keys of its table `model`: with the signal they make the same shape again."""
        taken = {key: getattr(self, key) for key in ("layers", "width", "heads", "intermediate", "tied", "dropout")}
        patch = {"patch": self.patch} if self.patch else {}
        return {**taken, "key_heads": self.groups, "shape": self.name, **patch}

    @property
    def weights(self) -> int:
        """Roughly how many numbers are learnt."""
        sound = self.sound.weights if self.sound else 0
        return 12 * self.layers * self.width**2 + self.vocabulary * self.width + sound

    def steps(self, length: int) -> int:
        """Steps of a sample of so many units: tokens, frames, samples of sound; of a picture as many as it has patches,
        and one."""
        if self.sound is not None:
            return max(1, steps_of(length, self.sound.field, self.sound.stride))
        return (self.image // self.patch) ** 2 + 1 if self.patch else length

    def activations(self, length: int) -> int:
        """Roughly how many numbers of a sample of so many units are held for the gradient."""
        before = 0 if self.sound is None else self.sound.activations(length)
        return before + self.steps(length) * (20 * self.width * self.layers + self.vocabulary // 3)

    def __str__(self) -> str:
        return f"{self.layers} layers × {self.width}"

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


class ConvShape(BaseModel):
    """One residual convolution net's architecture: arXiv 1512.03385, table 1 and section 4.2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["resnet"] = "resnet"
    size: str = Field(description="a name of model/sizes.py, or blocks x width such as 3x64")
    kind: Literal["basic", "bottleneck"] = "basic"
    depths: tuple[Annotated[int, Field(gt=0, le=LAYERS)], ...] = Field(min_length=1, description="blocks of each stage")
    widths: tuple[Positive, ...] = Field(min_length=1, description="channels of each stage")
    first: Positive = Field(description="channels of the stem")
    stem: Literal["plain", "strided", "pooled"] = Field(description="3x3; 3x3 with stride 2; 7x7 with stride 2, pooled")
    channels: Positive = Field(3, description="numbers of a pixel")
    image: Positive = Field(description="side of a picture, in pixels; others may be given, too")

    can_drop: ClassVar[bool] = False
    tied: ClassVar[bool] = True
    causal: ClassVar[bool] = False
    vocabulary: ClassVar[int] = 0
    patch: ClassVar[int] = 0
    dropout: ClassVar[float] = 0.0

    @model_validator(mode="after")
    def stages_agree(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError(f"{len(self.depths)} stages have blocks, and {len(self.widths)} channels")
        if self.kind == "bottleneck" and any(width % 4 for width in self.widths):
            raise ValueError("the channels of a bottleneck are no multiple of 4")
        return self

    @property
    def width(self) -> int:
        """Length of the vector of a step, and of a sample."""
        return self.widths[-1]

    @property
    def layers(self) -> int:
        """Residual blocks."""
        return sum(self.depths)

    @property
    def channels_of_blocks(self) -> list[int]:
        """(layers,)"""
        return [width for width, depth in zip(self.widths, self.depths, strict=True) for _ in range(depth)]

    @property
    def strides(self) -> list[int]:
        """(layers,): 2 at the first block of each stage but the first."""
        return [2 if stage and not block else 1 for stage, depth in enumerate(self.depths) for block in range(depth)]

    @property
    def kept(self) -> dict[str, Any]:
        """What a recipe keeps of it, as keys of its table `model`: with the signal they make the same shape again."""
        return {"shape": self.name, "size": self.size}

    @property
    def weights(self) -> int:
        """Roughly how many numbers are learnt."""
        return sum((2 if self.kind == "bottleneck" else 18) * width**2 for width in self.channels_of_blocks)

    def steps(self, length: int) -> int:
        """One: nothing is attended to."""
        return 1

    def activations(self, length: int) -> int:
        """Roughly how many numbers of a sample are held for the gradient."""
        side, total = self.image // {"plain": 1, "strided": 2, "pooled": 4}[self.stem], 0
        for width, stride in zip(self.channels_of_blocks, self.strides, strict=True):
            side = max(1, side // stride)
            total += 6 * width * side**2
        return total

    def __str__(self) -> str:
        return f"{self.layers} blocks, {'-'.join(map(str, self.widths))} channels"


AnyShape = Shape | ConvShape
