"""The last layer's re-fit against scikit-learn's solver and numpy's lstsq, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from espalier.tasks.mixing import classifier
from espalier.tasks.mixing.classifier import WEIGHT_WITHOUT_REGULARIZER, refit
from tests.tasks.conftest import make_net

N, D, C = 120, 7, 4


def recipe(**changes):
    return replace(make_net().recipe, **changes)


def noisy_classes(seed=0):
    """Features of very different sizes, one of them constant, and labels that they tell in part."""
    generator = np.random.default_rng(seed)
    y = generator.integers(C, size=N)
    h = generator.normal(size=(N, D)) * np.logspace(-1, 1, D) + generator.normal(size=(C, D))[y] + 3.0
    h[:, 2] = 5.0
    return torch.from_numpy(h).float(), torch.from_numpy(y)


def reference(h, y, weight):
    model = LogisticRegression(C=1 / (weight * len(y)), solver="newton-cg", tol=1e-9, max_iter=500)
    return model.fit(h.double().numpy(), y.numpy())


@pytest.mark.parametrize("weight", [1e-1, 1e-3])
def test_logistic_regression_is_that_of_scikit_learn(weight):
    h, y = noisy_classes()
    found = refit(h, y, C, recipe(reg_weight=weight), ridge=0.3)
    wanted = reference(h, y, weight)
    assert found.warning == ""
    np.testing.assert_allclose(found.weight_CD, wanted.coef_, atol=2e-3 * np.abs(wanted.coef_).max())
    ours = (h.double() @ found.weight_CD.T + found.bias_C).softmax(1)
    np.testing.assert_allclose(ours, wanted.predict_proba(h.double().numpy()), atol=1e-3)


def test_the_features_unit_is_of_no_matter():
    h, y = noisy_classes()
    found, rescaled = (refit(h * unit, y, C, recipe(reg_weight=1e-3 * unit**2), 0.0) for unit in (1, 256))
    torch.testing.assert_close(rescaled.weight_CD * 256, found.weight_CD, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(rescaled.bias_C, found.bias_C, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("without", [{"regularizer": "none"}, {"reg_weight": 0.0}])
def test_without_a_regularizer_classes_told_apart_without_error_still_have_a_minimum(without):
    h, y = noisy_classes()
    h[:, 0] = 3.0 * y
    h[:, 1] = h[:, 0].square()
    found = refit(h, y, C, recipe(**without), ridge=0.0)
    assert found.warning == ""
    assert torch.equal((h.double() @ found.weight_CD.T + found.bias_C).argmax(1), y)
    weight = WEIGHT_WITHOUT_REGULARIZER * h.double().var(0, unbiased=False).sum().item()
    wanted = reference(h, y, weight)

    def value(weight_CD, bias_C):
        loss = torch.nn.functional.cross_entropy(h.double() @ weight_CD.T + bias_C, y)
        return (loss + weight / 2 * weight_CD.square().sum()).item()

    least = value(torch.from_numpy(wanted.coef_), torch.from_numpy(wanted.intercept_))
    assert value(found.weight_CD, found.bias_C) == pytest.approx(least, rel=1e-5)


def test_features_are_taken_in_batches_and_the_same_bits_come_twice(monkeypatch):
    h, y = noisy_classes()
    whole = refit(h, y, C, recipe(), 0.0)
    assert all(map(torch.equal, whole[:2], refit(h, y, C, recipe(), 0.0)[:2]))
    monkeypatch.setattr(classifier, "IMAGES", 50)
    torch.testing.assert_close(refit(h, y, C, recipe(), 0.0).weight_CD, whole.weight_CD, rtol=1e-3, atol=1e-4)


def test_a_fit_that_is_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 3)
    assert refit(*noisy_classes(), C, recipe(), 0.0).warning.startswith("L-BFGS stopped at a gradient of ")


def test_constant_features_give_the_classes_shares_and_a_warning():
    y = torch.tensor([0, 0, 0, 1])
    found = refit(torch.full((4, 3), 2.0), y, 2, recipe(), 0.0)
    assert found.warning == "the source layer is constant"
    logits = found.weight_CD @ torch.full((3,), 2.0, dtype=torch.float64) + found.bias_C
    np.testing.assert_allclose(logits.softmax(0), [0.75, 0.25], atol=1e-5)


@pytest.mark.parametrize(("weight", "ridge"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.2), (0.5, 0.2)])
def test_a_regression_is_the_lstsq_of_its_own_objective(weight, ridge):
    h, _ = noisy_classes()
    h = h[:, [0, 1, 3, 4, 5]]
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(N, 2)) + h[:, :2].numpy()).float()
    found = refit(h, y, 2, recipe(loss="mse", reg_weight=weight), ridge)
    u, z = (v.double().numpy() - v.double().numpy().mean(0) for v in (h, y))
    # mean squared error + weight / 2 |W|^2, times N C; the ridge is a share of the mean eigenvalue.
    penalty = np.sqrt(weight * N * 2 / 2 + ridge * np.trace(u.T @ u) / 5) * np.eye(5)
    wanted = np.linalg.lstsq(np.r_[u, penalty], np.r_[z, np.zeros((5, 2))], rcond=None)[0]
    np.testing.assert_allclose(found.weight_CD.T, wanted, rtol=1e-8, atol=1e-10)
    bias = y.double().mean(0) - h.double().mean(0) @ torch.from_numpy(wanted)
    np.testing.assert_allclose(found.bias_C, bias, rtol=1e-6, atol=1e-8)
