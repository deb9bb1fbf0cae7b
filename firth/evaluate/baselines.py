"""Classical baselines: what anybody could do without a neural network, done honestly, with the same labels.

Each takes the training examples (validation included), the test examples and a seed, and returns one plain value per
test example: a label, a number, tags, an answer.
"""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from firth.functional import answers
from firth.functional.calibration import best_threshold
from firth.task import Example

NEEDS = frozenset({"tokens"})  # what a signal must offer: examples are read as text
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse regularisation; chosen by cross-validation on the labels themselves
FOLDS = 5
LONGEST = 10  # words of an answer by word overlap

Learn = Callable[..., list[Any]]


def tf_idf(given: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[Any]:
    """TF-IDF of words and pairs of words, logistic regression (scikit-learn).

    Sublinear term frequencies, L2; the regularisation is chosen by stratified cross-validation within the given
    labels, so the baseline, too, has only those. Words are fitted on the given texts alone. Several labels a text: one
    regression each (one-vs-rest), and the threshold, too, is chosen by cross-validation.
    """
    if isinstance(given[0].target, tuple):
        return one_vs_rest(given, test, seed, _words(given))
    return regressed(given, test, seed, _words(given), overlap=False)


def overlap(given: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[Any]:
    """Pairs: TF-IDF of both texts together, and how their words overlap, in a logistic (numbers: ridge) regression."""
    return regressed(given, test, seed, _words(given), overlap=True)


def most_frequent_tag(given: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[Any]:
    """The tag that each word has most often; for unknown words the commonest of all."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in given:
        for word, tag in zip(*one.target, strict=True):
            counts[word.lower()][tag] += 1
    everything: Counter[str] = sum(counts.values(), Counter())
    known = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    common = everything.most_common(1)[0][0]
    return [[known.get(word.lower(), common) for word in one.target[0]] for one in test]


def logistic_tagger(given: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[Any]:
    """Logistic regression over the word, its ends, its form and its neighbours; each word alone, no search."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import SGDClassifier

    vectors = DictVectorizer()
    features = narrow(vectors.fit_transform([found for one in given for found in word_features(one.target[0])]))
    tags = [tag for one in given for tag in one.target[1]]
    if len(set(tags)) < 2:
        return [[tags[0]] * len(one.target[0]) for one in test]
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=20, tol=None, random_state=seed, average=True)
    model.fit(features, tags)
    return [
        [str(tag) for tag in model.predict(narrow(vectors.transform(word_features(one.target[0]))))] for one in test
    ]


def narrow(matrix):
    """The sparse matrix with 32-bit indices, which is all that the classifier takes."""
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def word_features(words: Sequence[str]) -> list[dict[str, Any]]:
    """What the logistic tagger knows of each word."""
    edged = ["<s>", *(word.lower() for word in words), "</s>"]
    return [
        {
            "word": edged[i],
            "before": edged[i - 1],
            "after": edged[i + 1],
            **{f"end{n}": edged[i][-n:] for n in (1, 2, 3, 4)},
            **{f"beginning{n}": edged[i][:n] for n in (1, 2, 3)},
            "form": re.sub(r"(.)\1+", r"\1", re.sub(r"[^\W\d_]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "9", word)))),
            "first": i == 1,
        }
        for i, word in enumerate(words, 1)
    ]


def word_overlap(given: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[Any]:
    """Answers: the sentence that shares most words with the question, in it the stretch beside the shared words.

    After the sliding window of SQuAD's paper (arXiv 1606.05250, section 5.1): each stretch of at most ten words outside
    the question is scored by the inverse frequency of question words within five words of it. Nothing is learnt.
    """
    return [nearest_stretch(*one.parts) for one in test]


def nearest_stretch(question: str, document: str) -> str:
    """The stretch of the document's sentence most like the question."""
    asked = set(answers.normalize(question).split())
    weights = Counter(answers.normalize(document).split())
    best, answer = -1.0, ""
    for sentence in re.split(r"(?<=[.!?])\s+", document):
        words = sentence.split()
        shared = [answers.normalize(word) in asked for word in words]
        worth = [hit / (1 + weights[answers.normalize(word)]) for hit, word in zip(shared, words, strict=True)]
        total = sum(worth)
        if total > best and not all(shared):
            best, answer = total, longest_run(words, shared, worth)
    return answer.strip(".,;:!?\"'()")


def longest_run(words: Sequence[str], shared: Sequence[bool], worth: Sequence[float]) -> str:
    """The run of words that are not in the question with most of the question's words within five of it."""
    best, chosen = (-1.0, 0), ""
    begin = 0
    for end in range(len(words) + 1):
        if end < len(words) and not shared[end]:
            continue
        run = words[begin:end][:LONGEST]
        near = sum(worth[max(0, begin - 5) : begin]) + sum(worth[end : end + 5])
        if run and (near, len(run)) > best:
            best, chosen = (near, len(run)), " ".join(run)
        begin = end + 1
    return chosen


def _words(given: Sequence[Example]):
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    return vectors.fit([one.text for one in given])


def regressed(given: Sequence[Example], test: Sequence[Example], seed: int, vectors, overlap: bool) -> list[Any]:
    """A logistic regression for labels, a ridge regression for numbers."""
    from scipy.sparse import csr_matrix, hstack
    from threadpoolctl import threadpool_limits

    def features(examples):
        words = vectors.transform([one.text for one in examples])
        return hstack([words, csr_matrix(np.array([shares(one) for one in examples]))]).tocsr() if overlap else words

    numbers = given[0].target is not None
    gold = np.array([one.target if numbers else str(one.label) for one in given])
    if len(np.unique(gold)) < 2:
        return [gold[0].item()] * len(test)
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):  # several threads: five times as slow
        warnings.simplefilter("ignore")  # on the way to convergence, and on names that newer versions deprecate
        model = _ridge() if numbers else _regression(gold, seed)
        return model.fit(features(given), gold).predict(features(test)).tolist()


def one_vs_rest(given: Sequence[Example], test: Sequence[Example], seed: int, vectors) -> list[list[str]]:
    """For each label a logistic regression; of all strengths the one with the lowest log-loss, and the threshold with
    the highest micro-F1, on parts that were left out in turn."""
    names = sorted({name for one in given for name in one.target})
    gold = np.array([[name in one.target for name in names] for one in given])  # (N, L)
    seen, unseen = (vectors.transform([one.text for one in part]) for part in (given, test))
    held = {strength: held_out_shares(seen, gold, strength, seed) for strength in STRENGTHS}
    best = min(STRENGTHS, key=lambda strength: log_loss(held[strength], gold))
    threshold = best_threshold(held[best], gold)
    said = np.stack([fitted_shares(seen, column, unseen, best) for column in gold.T], 1) > threshold
    return [[names[i] for i in np.flatnonzero(row).tolist()] for row in said]


def held_out_shares(features, gold: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """(N, D), (N, L) bool -> (N, L) probabilities, those of each example by the folds that it is not in."""
    from sklearn.model_selection import KFold

    found = np.empty(gold.shape)
    for rest, part in KFold(min(FOLDS, len(gold)), shuffle=True, random_state=seed).split(gold):
        for number, column in enumerate(gold.T):
            found[part, number] = fitted_shares(features[rest], column[rest], features[part], strength)
    return found


def fitted_shares(features, gold: np.ndarray, unseen, strength: float) -> np.ndarray:
    """(N, D), (N,) bool, (M, D) -> (M,) probabilities; their share where all or none of the N have the label."""
    if gold.all() or not gold.any():
        return np.full(unseen.shape[0], float(gold.mean()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logistic(strength).fit(features, gold).predict_proba(unseen)[:, 1]


def logistic(strength: float = 1.0):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=1000)


def log_loss(shares: np.ndarray, gold: np.ndarray) -> float:
    """Mean over all decisions, in nats; no probability counts as less than 1e-6."""
    return float(-np.log(np.clip(np.where(gold, shares, 1 - shares), 1e-6, 1)).mean())


def shares(example: Example) -> list[float]:
    """How two texts overlap: share of each in the other, of both, difference in length, negation in one only."""
    first, second = (set(re.findall(r"\w+", part.lower())) for part in (*example.parts, "", "")[:2])
    both = len(first & second)
    negated = [bool(words & {"no", "not", "nobody", "nothing", "never", "n't", "without"}) for words in (first, second)]
    return [both / max(1, len(first)), both / max(1, len(second)), both / max(1, len(first | second)),
            (len(first) - len(second)) / 10, float(negated[0] != negated[1]), float(all(negated))]  # fmt: skip


def _ridge():
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=STRENGTHS)


def _regression(labels: np.ndarray, seed: int):
    """Logistic regression, its strength cross-validated where every class has enough labels for two folds."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    folds = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    model = logistic()
    if folds < 2:
        return model
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(model, {"C": STRENGTHS}, cv=splits)


BASELINES: dict[str, dict[str, Learn]] = {  # by task, the strongest last
    "classify": {"tf-idf": tf_idf},
    "pairs": {"tf-idf": tf_idf, "word-overlap": overlap},
    "tag": {"most-frequent-tag": most_frequent_tag, "logistic-tagger": logistic_tagger},
    "span": {"word-overlap": word_overlap},
}
TITLES = {
    "tf-idf": "TF-IDF + logistic regression",
    "word-overlap": "Word overlap",
    "most-frequent-tag": "Most frequent tag",
    "logistic-tagger": "Logistic tagger",
}
