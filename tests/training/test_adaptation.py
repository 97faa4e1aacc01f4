"""Domain adaptation: each method moves features or images towards the other domain, and changes nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.models.zoo import build_network

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.slow


def two_domains(count: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Features of two domains (one feature encodes the domain, another the class); domains; classes."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    domains, classes = torch.arange(count) % 2, torch.arange(count) // 2 % 2
    features = 0.2 * torch.randn(count, 4, generator=drawn)
    features[:, 0] += 2 * domains - 1
    features[:, 1] += 2 * classes - 1
    return features, domains, classes


def leak_after_learning(strength: float) -> tuple[float, float]:
    """Adversarial training where class and domain agree in three of four cases.

    Returns how far the domains lie from each other in its features, in standard deviations within them, the mean over
    the last fifty steps (the two go round each other); and the accuracy of classification.
    """
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from napari_melanoma.training.tasks.classification import DomainAdversary, ramp_up

    drawn = torch.Generator().manual_seed(0)
    domains = torch.arange(200) % 2
    classes = torch.where(torch.rand(200, generator=drawn) < 0.75, domains, 1 - domains)
    features = 0.2 * torch.randn(200, 4, generator=drawn)
    features[:, 0] += 2 * domains - 1
    features[:, 1] = 2 * classes - 1 + torch.randn(200, generator=drawn)
    torch.manual_seed(0)
    encoder, head, adversary = nn.Linear(4, 3), nn.Linear(3, 2), DomainAdversary(3, hidden=16)
    parts = nn.ModuleList([encoder, head, adversary])
    optimiser, gaps, steps = torch.optim.Adam(parts.parameters(), lr=0.02), [], 200
    for step in range(steps):
        optimiser.zero_grad()
        found, adversary.strength = encoder(features), strength * ramp_up(step / steps)
        (cross_entropy(head(found), classes) + adversary(found, domains)).backward()
        optimiser.step()
        one, other = (found[domains == domain].detach() for domain in range(2))
        gaps.append(float((one.mean(0) - other.mean(0)).norm() / (one.std(0).norm() + other.std(0).norm())))
    right = float((head(encoder(features)).argmax(dim=1) == classes).float().mean())
    return float(np.mean(gaps[-50:])), right


def test_the_reversal_is_the_identity_and_negates_the_gradient() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import reverse_gradient

    given = torch.randn(3, 4, requires_grad=True)
    out = reverse_gradient(given, 0.25)
    assert torch.equal(out, given)
    (out * torch.arange(12).view(3, 4)).sum().backward()
    assert given.grad is not None
    assert torch.equal(given.grad, -0.25 * torch.arange(12).view(3, 4))


def test_gradient_reversal_ramps_up() -> None:
    from napari_melanoma.training.tasks.classification import ramp_up

    values = [ramp_up(progress) for progress in np.linspace(0, 1, 11)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[5] == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert values[-1] > 0.999


def test_adversarial_training_reduces_domain_information() -> None:
    gap_without, right_without = leak_after_learning(0.0)
    gap, right = leak_after_learning(1.0)
    assert gap < 0.7 * gap_without
    assert right > right_without - 0.1


def test_an_adversary_without_strength_does_not_affect_the_features() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import DomainAdversary

    torch.manual_seed(0)
    adversary = DomainAdversary(3, hidden=16)
    adversary.strength = 0.0
    features, domains, _ = two_domains()
    found = features[:, :3].clone().requires_grad_()
    adversary(found, domains).backward()
    assert found.grad is not None
    assert not bool(found.grad.any())
    assert all(bool(value.grad.any()) for name, value in adversary.named_parameters() if "0.bias" not in name)


def test_the_adversary_learns_to_distinguish_domains() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import DomainAdversary

    torch.manual_seed(0)
    adversary, (features, domains, _) = DomainAdversary(4), two_domains()
    optimiser = torch.optim.Adam(adversary.parameters(), lr=0.03)
    before = float(adversary(features, domains).detach())
    for _ in range(30):
        optimiser.zero_grad()
        loss = adversary(features, domains)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2 * before


def test_coral_by_hand() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import coral_loss

    one, other = torch.tensor([[1.0, 0], [-1, 0]]), torch.tensor([[0.0, 2], [0, -2], [5, 5]])
    features, domains = torch.cat([one, other[:2]]), torch.tensor([0, 0, 1, 1])
    # Covariances diag(2, 0) and diag(0, 8): 4 + 64 over 4 * 2^2.
    assert float(coral_loss(features, domains)) == pytest.approx(68 / 16)
    shifted = features + torch.tensor([[3.0, -1]]) * domains[:, None]
    assert float(coral_loss(shifted, domains)) == pytest.approx(68 / 16)  # it ignores the means


def test_coral_of_three_domains_is_the_mean_over_pairs() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import coral_loss

    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 31)[:, None]
    domains = torch.arange(30) // 10
    pairs = [domains != left_out for left_out in range(3)]
    expected = sum(float(coral_loss(features[pair], domains[pair])) for pair in pairs) / 3
    assert float(coral_loss(features, domains)) == pytest.approx(expected)


@pytest.mark.parametrize("domains", [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 2, 3]])
def test_coral_is_zero_without_two_domains(domains: list[int]) -> None:
    import torch

    from napari_melanoma.training.tasks.classification import coral_loss

    features = torch.randn(4, 3, requires_grad=True)
    loss = coral_loss(features, torch.tensor(domains))
    loss.backward()
    assert float(loss.detach()) == 0
    assert features.grad is not None
    assert not bool(features.grad.any())


def test_coral_aligns_the_covariances() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import coral_loss

    torch.manual_seed(0)
    domains = torch.arange(200) % 2
    features = torch.randn(200, 3) * torch.tensor([1.0, 3.0])[domains][:, None]
    scale = torch.ones(2, 3, requires_grad=True)
    optimiser = torch.optim.Adam([scale], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss = coral_loss(features * scale[domains], domains)
        loss.backward()
        optimiser.step()
    spread = features * scale.detach()[domains]
    ratio = spread[domains == 1].std(dim=0) / spread[domains == 0].std(dim=0)
    assert ratio.tolist() == pytest.approx([1, 1, 1], abs=0.25)


def classifier() -> Any:
    """A small network with the statistics of images of one domain."""
    import torch

    torch.manual_seed(0)
    network = build_network("image_tabular", {"encoder": "test_efficientnet", "tabular": {"continuous": 2}})
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64), torch.randn(8, 2))
    return network.eval()


def batches_of(tint: float, count: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Batches of another domain: brighter, flatter images."""
    import torch

    drawn = torch.Generator().manual_seed(1)
    return [
        (tint + 0.3 * torch.randn(8, 3, 64, 64, generator=drawn), torch.randn(8, 2, generator=drawn))
        for _ in range(count)
    ]


def test_adabn_measures_the_given_domain() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    network, batches = classifier(), batches_of(2.0)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    table = network.fusion.table.norm.running_mean.clone()
    assert update_batch_norm_statistics(network, batches) == 4
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
    assert torch.equal(network.fusion.table.norm.running_mean, table)
    with torch.inference_mode():
        seen = torch.cat([network.encoder.model.conv_stem(images) for images, _ in batches])
    torch.testing.assert_close(network.encoder.model.bn1.running_mean, seen.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not any(module.training for module in network.modules())
    assert network.encoder.model.bn1.momentum == pytest.approx(classifier().encoder.model.bn1.momentum)


def test_adabn_moves_features_to_those_of_the_first_domain() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    network, (home, away) = classifier(), (batches_of(tint) for tint in (0.0, 2.0))
    update_batch_norm_statistics(network, home)
    with torch.inference_mode():
        at_home, before = (network.embed(network.encode(batch[0][0])).mean(dim=0) for batch in (home, away))
    update_batch_norm_statistics(network, away)
    with torch.inference_mode():
        after = network.embed(network.encode(away[0][0])).mean(dim=0)
    assert float((after - at_home).norm()) < 0.5 * float((before - at_home).norm())


def test_adabn_accepts_an_encoder_and_keeps_its_mode() -> None:
    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    network = classifier().train()
    before = network.encoder.model.bn1.running_mean.clone()
    update_batch_norm_statistics(network.encoder, [(images,) for images, _ in batches_of(2.0)])
    assert bool((network.encoder.model.bn1.running_mean != before).any())
    assert all(module.training for module in network.modules())


def test_adabn_without_images_changes_nothing() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    network = classifier()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(DataSetError, match="needs images of the target domain, found none"):
        update_batch_norm_statistics(network, [])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_adabn_needs_batch_normalization() -> None:
    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    network = build_network("image_tabular", {"encoder": "test_convnext"})
    with pytest.raises(ConfigError, match="needs an encoder with batch normalization, but this one has none"):
        update_batch_norm_statistics(network, batches_of(0.0))


def scenes() -> tuple[Tensor, Tensor]:
    """Two images: a dark one with a fine pattern, and a bright one with a slope, both uint8 (1, 3, 48, 64)."""
    import torch

    fine = 60 + 20 * ((torch.arange(48)[:, None] + torch.arange(64)[None]) % 2) - 10
    slope = torch.linspace(140, 220, 64).expand(48, 64)
    return fine.expand(1, 3, 48, 64).to(torch.uint8), slope.expand(1, 3, 48, 64).round().to(torch.uint8)


def test_fourier_exchanges_brightness_and_keeps_the_pattern() -> None:
    from napari_melanoma.training.tasks.classification import swap_amplitudes

    image, partner = scenes()
    mixed = swap_amplitudes(image, partner, 0.05)
    assert mixed.dtype == image.dtype
    assert mixed.shape == image.shape
    assert float(mixed.float().mean()) == pytest.approx(float(partner.float().mean()), abs=1)
    fine = (mixed[..., 1:].float() - mixed[..., :-1].float()).abs().mean()
    assert float(fine) == pytest.approx(20, abs=2)


def test_fourier_with_itself_is_the_same_image() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import swap_amplitudes

    image = torch.randint(0, 256, (2, 3, 33, 50), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for reach in (0.0, 0.05, 0.5):
        assert torch.equal(swap_amplitudes(image, image, reach), image)
    torch.testing.assert_close(swap_amplitudes(image.float(), image.float(), 0.1), image.float(), atol=1e-2, rtol=0)


def test_a_higher_frequency_limit_exchanges_more() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import swap_amplitudes

    drawn = torch.Generator().manual_seed(0)
    image, partner = (torch.rand(1, 3, 64, 64, generator=drawn) * 100 + 50 for _ in range(2))
    amplitude = torch.fft.fft2(partner).abs()
    gaps = [
        float((torch.fft.fft2(swap_amplitudes(image, partner, reach)).abs() - amplitude).abs().mean())
        for reach in (0.0, 0.1, 0.3, 0.5)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.05 * gaps[0]


def test_images_are_mixed_each_with_its_own_partner() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import swap_amplitudes

    image, partner = scenes()
    both, turned = torch.cat([image, partner]), torch.cat([partner, image])
    together = swap_amplitudes(both, turned, 0.1)
    assert torch.equal(together[:1], swap_amplitudes(image, partner, 0.1))
    assert torch.equal(together[1:], swap_amplitudes(partner, image, 0.1))


def test_pseudo_labels_by_hand() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import pseudo_label_loss

    odds = torch.tensor([19.0, 1 / 9, 1.5])  # of the second class: 0.95, 0.1, 0.6
    logits = torch.stack([torch.zeros(3), odds.log()], dim=1)
    expected = -(math.log(0.95) + math.log(0.9)) / 3  # the third is not confident, but counts as an image
    assert float(pseudo_label_loss(logits, 0.85)) == pytest.approx(expected, rel=1e-5)
    assert float(pseudo_label_loss(logits, 0.99)) == 0
    assert float(pseudo_label_loss(logits[:0], 0.85)) == 0


def test_pseudo_labels_make_predictions_more_confident() -> None:
    import torch

    from napari_melanoma.training.tasks.classification import pseudo_label_loss

    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.1]], requires_grad=True)
    pseudo_label_loss(logits, 0.7).backward()
    assert logits.grad is not None
    assert (
        logits.grad[:2].argmin(dim=1) == torch.tensor([1, 0])
    ).all()  # the more probable class becomes more probable
    assert not logits.grad[2].any()  # no gradient without confidence
