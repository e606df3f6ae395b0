"""The quick step is Adam's, to the last bit, and is taken only where it is."""

import copy

import pytest
import torch

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.training.optimizer import quick_step, takes_quick_step


def network_and_optimizer(optimizer=torch.optim.Adam, **kwargs):
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))
    return network, optimizer(network.parameters(), **{"fused": True, **kwargs})


def compute_gradients(network):
    network.zero_grad()
    network(torch.randn(4, 5)).square().sum().backward()


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"weight_decay": 0.1, "betas": (0.5, 0.9)},
        {"weight_decay": 0.1, "optimizer": torch.optim.AdamW},
    ],
)
def test_quick_step_is_adam_s(kwargs):
    network, optimizer = network_and_optimizer(**kwargs)
    compute_gradients(network)
    optimizer.step()
    twin, twin_optimizer = copy.deepcopy((network, optimizer))
    for number in range(5):
        lr = 0.01 / (number + 1)
        optimizer.param_groups[0]["lr"] = twin_optimizer.param_groups[0]["lr"] = lr
        compute_gradients(network)
        for parameter, other in zip(
            network.parameters(), twin.parameters(), strict=True
        ):
            other.grad = parameter.grad.clone()
        if number == 3:  # frozen for a step
            network[0].bias.grad = twin[0].bias.grad = None
        assert takes_quick_step(optimizer)
        quick_step(optimizer)
        twin_optimizer.step()

    for parameter, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, other)
    state, other_state = optimizer.state_dict(), twin_optimizer.state_dict()
    for number, values in state["state"].items():
        for name, value in values.items():
            assert torch.equal(value, other_state["state"][number][name])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"fused": False},
        {"amsgrad": True},
        {"maximize": True},
        {"optimizer": torch.optim.SGD},
    ],
)
def test_other_optimizers_take_their_own_step(kwargs):
    network, optimizer = network_and_optimizer(**kwargs)
    compute_gradients(network)
    optimizer.step()
    assert not takes_quick_step(optimizer)


def test_first_step_and_hooks_need_the_optimizer_s_own():
    network, optimizer = network_and_optimizer()
    assert not takes_quick_step(optimizer)
    compute_gradients(network)
    optimizer.step()
    assert takes_quick_step(optimizer)
    optimizer.register_step_post_hook(lambda *args: None)
    assert not takes_quick_step(optimizer)


@pytest.mark.parametrize("lr_schedule", [None, "one_cycle"])
def test_fit_is_the_same_with_either_step(monkeypatch, lr_schedule):
    X = torch.randint(0, 256, (96, 784), dtype=torch.uint8).numpy()
    y = torch.arange(96).numpy() % 3

    def fitted():
        net = LeNet5Classifier(
            max_epochs=2, batch_size=16, lr_schedule=lr_schedule, random_state=0
        )
        return net.fit(X, y).module_.state_dict()

    quick = fitted()
    monkeypatch.setattr("fmnist_sklearn.training.net.takes_quick_step", lambda _: False)
    for name, value in fitted().items():
        assert torch.equal(value, quick[name])


def test_fit_where_gradients_are_off():
    X = torch.randint(0, 256, (96, 784), dtype=torch.uint8).numpy()
    y = torch.arange(96).numpy() % 3
    with torch.no_grad():
        net = LeNet5Classifier(max_epochs=2, batch_size=16, random_state=0).fit(X, y)
    assert len(net.history_) == 2


class CountingAdam(torch.optim.Adam):
    n_zeroed = 0

    def zero_grad(self, set_to_none=True):
        self.n_zeroed += 1
        super().zero_grad(set_to_none)


def test_an_optimizer_s_own_zero_grad_is_called():
    X = torch.randint(0, 256, (48, 784), dtype=torch.uint8).numpy()
    y = torch.arange(48).numpy() % 3
    net = LeNet5Classifier(
        max_epochs=1, batch_size=16, validation_fraction=0, optimizer=CountingAdam
    ).fit(X, y)
    assert net.optimizer_.n_zeroed == 3
