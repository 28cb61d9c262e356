"""A tree is judged for each estimator that walks it, however the estimators of a file share what they hold."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier

from homeostat.domain.errors import Unsafe
from homeostat.engine.registry import formats
from homeostat.engine.registry.safety import check_trees

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(60, 9))
LAST = (ROWS[:, 8] > 0).astype(int)


def stump(width: int = 9) -> Any:
    """A tree that splits on the last of so many columns."""
    return DecisionTreeClassifier(max_depth=1).fit(ROWS[:, 9 - width :], LAST)


WIDE = stump()


def narrow(held: Any) -> Any:
    """An estimator of two columns that holds what was made for nine."""
    estimator = stump(2)
    estimator.tree_ = held
    return estimator


def boosting(member: Any) -> Any:
    """Boosting of two columns, one member of which was made for nine."""
    estimator = GradientBoostingClassifier(n_estimators=2, max_depth=1).fit(ROWS[:, 7:], LAST)
    estimator.estimators_[1, 0] = member
    return estimator


def forest(member: Any) -> Any:
    estimator = RandomForestClassifier(2, max_depth=1).fit(ROWS[:, 7:], LAST)
    estimator.estimators_ = [member]
    return estimator


def said(value: Any, **attributes: Any) -> Any:
    """``value`` with attributes as a file may set them; None takes one away."""
    for name, attribute in attributes.items():
        if attribute is None:
            del vars(value)[name]
        else:
            vars(value)[name] = attribute
    return value


def cyclic() -> Any:
    estimator, ring = narrow(WIDE.tree_), [WIDE]
    ring.extend([ring, estimator])
    return said(LogisticRegression(), ring=ring, itself=estimator)


def predictors() -> Any:
    estimator = HistGradientBoostingClassifier(max_iter=2).fit(ROWS[:, 7:], LAST)
    estimator._predictors[1][0].nodes["feature_idx"][0] = 8
    return said(estimator, _predictors=deque(estimator._predictors))


MISLED: dict[str, Callable[[], Any]] = {
    "a shared tree": lambda: [WIDE, narrow(WIDE.tree_)],
    "a shared tree, the other way": lambda: [narrow(WIDE.tree_), WIDE],
    "a shared list": lambda: [(trees := [WIDE.tree_]) and said(stump(), tree_=trees), narrow(trees)],
    "a shared list, the other way": lambda: [narrow(trees := [WIDE.tree_]), said(stump(), tree_=trees)],
    "a shared member": lambda: [WIDE, forest(WIDE)],
    "a shared member, the other way": lambda: [boosting(WIDE), WIDE],
    "a cycle": cyclic,
    "boosting that says no width": lambda: said(boosting(WIDE), n_features_in_=None),
    "a member that says no width, below one that does": lambda: said(
        make_pipeline(said(stump(), n_features_in_=None)), n_features_in_=9
    ),
    "a width that is no number": lambda: said(stump(), n_features_in_="9"),
    "an attribute of a dictionary": lambda: boosting(said(OrderedDict(), tree_=WIDE.tree_, n_features_in_=9)),
    "another estimator's tree": lambda: boosting(
        said(LogisticRegression(), tree_=WIDE.tree_, n_features_in_=9)
    ),
    "a method of a tree": lambda: said(FunctionTransformer(WIDE.tree_.predict), n_features_in_=9),
    "a method of an estimator": lambda: FunctionTransformer(narrow(WIDE.tree_).predict),
    "a queue": predictors,
    "a record": lambda: np.array([(narrow(WIDE.tree_),)], dtype=[("x", "O")])[0],
}


@pytest.mark.parametrize("name", MISLED)
def test_a_tree_of_other_rows_is_refused_wherever_it_is_held(name: str) -> None:
    check_trees(WIDE)
    with pytest.raises(Unsafe, match="points outside"):
        check_trees(MISLED[name]())


def test_a_shared_tree_is_refused_when_a_file_is_read() -> None:
    voting = VotingClassifier([("wide", stump()), ("narrow", stump(2))])
    voting.estimators_ = [WIDE, narrow(WIDE.tree_)]
    voting.classes_ = np.array([0, 1])
    files = formats.dump(voting, ())
    with pytest.raises(Unsafe, match="points outside"):
        formats.load(files, ())


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=3, max_features=0.5),
        BaggingClassifier(n_estimators=3, max_features=0.5),
        VotingClassifier([("wide", RandomForestClassifier(2)), ("narrow", DecisionTreeClassifier())]),
        GradientBoostingClassifier(
            n_estimators=2, init=make_pipeline(PolynomialFeatures(), DecisionTreeClassifier(max_depth=3))
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_members_of_any_width_are_fine_where_they_look_at_their_rows(estimator: Any) -> None:
    check_trees(estimator.fit(ROWS, LAST))


def test_an_estimator_of_the_project_may_hold_a_tree_itself() -> None:
    class Own:
        """Of a class that the project named."""

    check_trees(said(Own(), n_features_in_=9, tree_=WIDE.tree_))
    with pytest.raises(Unsafe, match="tree of Own"):
        check_trees(said(Own(), n_features_in_=2, tree_=WIDE.tree_))
