"""Classical baselines: what anybody could do without a neural network, done honestly, with the same labels."""

import warnings
from collections.abc import Sequence

import numpy as np

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse regularisation; chosen by cross-validation on the labels themselves
FOLDS = 5


def tf_idf(texts: Sequence[str], labels: Sequence[int], test: Sequence[str], seed: int = 0) -> np.ndarray:
    """Class index (N,) of each test text: TF-IDF of words and pairs of words, logistic regression (scikit-learn).

    Sublinear term frequencies, L2; the regularisation is chosen by stratified cross-validation within the given
    labels, so the baseline, too, has only those. Words are fitted on the given texts alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    gold = np.asarray(labels)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    features = vectors.fit_transform(texts)
    if len(np.unique(gold)) < 2:
        return np.full(len(test), gold[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the way to convergence, and on names that newer versions deprecate
        return _regression(gold, seed).fit(features, gold).predict(vectors.transform(test))


def _regression(labels: np.ndarray, seed: int):
    """Logistic regression, its strength cross-validated where every class has enough labels for two folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels)[np.unique(labels)].min()))
    model = LogisticRegression(max_iter=1000)
    if folds < 2:
        return model
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(model, {"C": STRENGTHS}, cv=splits)
