"""What one server takes on, so that memory is bounded and every client gets an answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    body: int = 1 << 20  # bytes of a request
    body_seconds: float = 10.0  # in which a request must have come in whole
    requests: int = 128  # that are read, wait or are answered at a time; one more is told to come again
    seconds: float = 600.0  # from a request to the end of its answer, waiting included
    prompts: int = 64  # of a request, times `n`
    tokens: int = 4096  # written to a prompt
    inputs: int = 2048  # of a request for vectors
    stops: int = 4  # stop strings
    stop: int = 1000  # characters of one
    likeliest: int = 20  # tokens whose likelihood is told beside that of the one written
    cache: int = 1 << 30  # bytes of keys and values; more rows are written one batch after another
