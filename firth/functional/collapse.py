"""How much room vectors take: numbers that fall when all samples get like vectors, or vectors in few directions."""

import torch
import torch.nn.functional as F
from torch import Tensor

# N samples, D dimensions

EPSILON = 1e-7  # added to each share; RankMe, equation 2, for single precision


def effective_rank(vectors: Tensor) -> float:
    """(N, D) -> exp of the entropy of the singular values' shares: 1 on one line, min(N, D) where all weigh the same.

    RankMe: Garrido et al. 2023, arXiv 2210.02885, equation 2 (after Roy & Vetterli 2007). The vectors are not centred:
    a mean that all share is a direction, too, and makes the rank fall.
    """
    sizes = torch.linalg.svdvals(vectors.detach().cpu().double())
    shares = sizes / sizes.sum().clamp(min=torch.finfo(torch.float64).tiny) + EPSILON
    return float((-shares * shares.log()).sum().exp())


def spread(vectors: Tensor) -> float:
    """(N, D) -> in [0, 1]: 0 where all directions are the same, 1 where they are drawn evenly from the sphere.

    The standard deviation of each coordinate of the normalised vectors, averaged, times √D: Chen & He 2020 (SimSiam),
    arXiv 2011.10566, section 4.1 and figure 2, where evenly drawn directions have 1 / √D.
    """
    units = F.normalize(vectors.detach().double(), dim=1)
    return float(units.std(0, correction=0).mean() * vectors.shape[1] ** 0.5)


def alignment(first: Tensor, second: Tensor, power: float = 2) -> float:
    """(N, D), (N, D) two views of each sample -> mean distance of their directions to that power, in [0, 4] for 2.

    Wang & Isola 2020, arXiv 2005.10242, equation 7; lower is more alike.
    """
    one, two = (F.normalize(vectors.detach().double(), dim=1) for vectors in (first, second))
    return float((one - two).norm(dim=1).pow(power).mean())


def uniformity(vectors: Tensor, sharpness: float = 2) -> float:
    """(N, D) -> log of the mean over pairs of exp(-t × squared distance of directions): 0 where all are the same.

    Wang & Isola 2020, arXiv 2005.10242, equation 8 with t = 2; lower is more even, at least -2t.
    """
    units = F.normalize(vectors.detach().double(), dim=1)
    return float(torch.pdist(units).square().mul(-sharpness).exp().mean().log())
