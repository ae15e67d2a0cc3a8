"""Each flavour does what its equations say: golden values, fixed points, gradients, revival."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from signllm.models.quantizer_lookup_free import FSQ, FSQ_LEVELS, LFQ
from signllm.models.quantizer_parts import kmeans, make_generator, pass_gradient
from signllm.models.quantizers import build_quantizer


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(quantizer, x, mask=None):
    return quantizer.train()(x.clone().requires_grad_(), mask)


def place_codes(quantizer, *tables):
    """Put codebooks in place as if training had made them."""
    for level, table in zip(quantizer.core.codebooks, tables, strict=True):
        level.codebook.copy_(table)
        level.code_sums.copy_(table)
        level.code_counts.fill_(1.0)
        level.initialised.fill_(True)


class TestMovingAverages:
    def test_fixed_point(self):
        """Constant batches: every code ends at the mean of its vectors, N at their number."""
        centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
        x = torch.cat([centre + 0.1 * normal(4, 2, seed=i) for i, centre in enumerate(centres)])[None]
        quantizer = build_quantizer("ema", 2, 3, decay=0.5, laplace_epsilon=0.0)
        for _ in range(60):
            codes = step(quantizer, x).codes[0, :, 0]
        for group in range(3):
            members = x[0, 4 * group : 4 * group + 4]
            assert codes[4 * group : 4 * group + 4].unique().numel() == 1
            torch.testing.assert_close(quantizer.core.codebooks[0].codebook[codes[4 * group]], members.mean(dim=0))
        torch.testing.assert_close(quantizer.core.codebooks[0].code_counts, torch.full((3,), 4.0))

    def test_one_step_by_hand(self):
        quantizer = build_quantizer("ema", 1, 2, dead_code_threshold=0.0)
        place_codes(quantizer, torch.tensor([[0.0], [10.0]]))
        step(quantizer, torch.tensor([[[1.0], [2.0], [12.0]]]))
        level = quantizer.core.codebooks[0]
        torch.testing.assert_close(level.code_counts, torch.tensor([0.99 + 0.02, 0.99 + 0.01]))
        torch.testing.assert_close(level.code_sums[:, 0], torch.tensor([0.03, 9.9 + 0.12]))
        total = 2.01
        smoothed = [(count + 1e-5) / (total + 2e-5) * total for count in (1.01, 1.0)]
        torch.testing.assert_close(level.codebook[:, 0], torch.tensor([0.03 / smoothed[0], 10.02 / smoothed[1]]))

    def test_commitment_and_perplexity_by_hand(self):
        quantizer = build_quantizer("ema_reset", 2, 4)
        place_codes(quantizer, torch.tensor([[0.0, 0], [4, 0], [0, 4], [4, 4]]))
        x = torch.tensor([[[1.0, 0], [3, 0], [0, 2.5], [0, 0]]])
        quantized = quantizer.eval()(x)
        assert quantized.codes[0, :, 0].tolist() == [0, 1, 2, 0]
        assert quantized.loss.item() == pytest.approx((1 + 1 + 2.25) / 8)
        entropy = 0.5 * math.log(2) + 0.5 * math.log(4)
        assert quantized.stats["perplexity"].item() == pytest.approx(math.exp(entropy))
        assert quantized.stats["usage"].item() == 0.75

    def test_reset_flavour_starts_from_shuffled_rows_of_the_batch(self):
        quantizer = build_quantizer("ema_reset", 2, 4, dead_code_threshold=0.0, decay=1.0)
        x = torch.arange(40.0).view(1, 20, 2)
        step(quantizer, x)
        codebook = quantizer.core.codebooks[0].codebook
        rows = [int((x[0] == code).all(dim=1).nonzero()) for code in codebook]
        assert len(set(rows)) == 4
        assert rows != [0, 1, 2, 3]

    def test_empty_clusters_of_the_start_keep_their_place(self):
        quantizer = build_quantizer("ema", 2, 4, dead_code_threshold=0.0, decay=0.5)
        x = torch.tensor([3.0, -4.0]).expand(1, 20, 2)
        for _ in range(3):
            step(quantizer, x)
        level = quantizer.core.codebooks[0]
        assert (level.code_counts >= 0.5**3).all()
        torch.testing.assert_close(level.codebook, x[0, :4], atol=1e-3, rtol=1e-3)

    def test_too_few_rows_are_repeated_with_noise(self):
        quantizer = build_quantizer("ema_reset", 4, 9)
        x = normal(1, 4, 4)
        step(quantizer, x)
        codebook = quantizer.core.codebooks[0].codebook
        assert torch.cdist(codebook, x[0]).min(dim=1).values.max() < 0.05
        assert codebook.unique(dim=0).shape[0] == 9

    @pytest.mark.parametrize("name", ["ema_reset", "ema", "residual"])
    def test_killed_codes_revive_and_are_used(self, name):
        levels = 2 if name == "residual" else 1
        quantizer = build_quantizer(name, 4, 16, levels, dead_code_threshold=1.0)
        for seed in range(3):
            step(quantizer, normal(4, 64, 4, seed=seed))
        for level in quantizer.core.codebooks:
            level.codebook[8:] = 1e3
            level.code_sums[8:] = 0.0
            level.code_counts[8:] = 0.0
        first = step(quantizer, normal(4, 64, 4, seed=3))
        assert (first.stats["restarted"] >= 8).all()
        for level in quantizer.core.codebooks:
            assert level.codebook.abs().max() < 100, "a restart must still be there after the step"
            restarted = level.codebook[8:]
            torch.testing.assert_close(level.code_sums[8:], restarted * level.code_counts[8:, None])
        used = [set() for _ in range(levels)]
        for seed in range(4, 10):
            codes = step(quantizer, normal(4, 64, 4, seed=seed)).codes
            for level in range(levels):
                used[level] |= set(codes[..., level].unique().tolist())
        assert all(set(range(8, 16)) <= level for level in used)

    def test_restarts_wait_for_the_warm_up(self):
        quantizer = build_quantizer("ema", 4, 16, restart_warmup_steps=3, dead_code_threshold=1e9)
        restarted = [step(quantizer, normal(1, 64, 4, seed=seed)).stats["restarted"].item() for seed in range(5)]
        assert restarted == [0, 0, 0, 16, 16]

    def test_scaled_threshold(self):
        quantizer = build_quantizer("ema", 1, 2, decay=0.5)
        place_codes(quantizer, torch.tensor([[0.0], [1.0]]))
        quantizer.core.codebooks[0].code_counts.copy_(torch.tensor([90.0, 2 * 4.9]))
        # 100 rows on 2 codes: a tenth of 50 hits; 9.8 falls to 4.9 < 5.
        assert step(quantizer, torch.zeros(1, 100, 1)).stats["restarted"].item() == 1

    def test_masked_rows_never_become_codes(self):
        quantizer = build_quantizer("ema_reset", 2, 8)
        mask = torch.arange(40).view(2, 20) % 2 == 0
        for seed in range(4):
            step(quantizer, torch.where(mask[..., None], normal(2, 20, 2, seed=seed), 500.0), mask)
            assert quantizer.core.codebooks[0].codebook.abs().max() < 10

    def test_codes_unused_for_ever_stay_finite(self):
        quantizer = build_quantizer("ema_reset", 2, 4, dead_code_threshold=0.0, decay=0.01)
        place_codes(quantizer, torch.tensor([[0.0, 0], [9, 9], [-9, 9], [9, -9]]))
        for _ in range(40):
            step(quantizer, 0.1 * normal(1, 10, 2))
        torch.testing.assert_close(quantizer.core.codebooks[0].codebook[1:].abs(), torch.full((3, 2), 9.0))

    def test_exact_on_few_distinct_vectors(self):
        """With a code per distinct vector the codebook reconstructs them."""
        distinct = 5 * normal(6, 3)
        x = distinct.repeat(20, 1)[torch.randperm(120, generator=make_generator(0, 0, 0))][None]
        quantizer = build_quantizer("ema", 3, 12, decay=0.5)
        for _ in range(40):
            step(quantizer, x)
        torch.testing.assert_close(quantizer.eval()(x).z, x, atol=1e-3, rtol=1e-3)


class TestResidual:
    def trained(self, **options):
        quantizer = build_quantizer("residual", 6, 16, 4, **options)
        for seed in range(5):
            step(quantizer, normal(4, 50, 6, seed=seed))
        return quantizer.eval()

    def test_error_falls_with_every_level(self):
        quantizer, x = self.trained(), normal(4, 50, 6, seed=9)
        errors = [(quantizer(x, num_quantizers=levels).z - x).square().mean().item() for levels in range(1, 5)]
        assert errors == sorted(errors, reverse=True)
        codes = quantizer(x).codes
        for levels in range(1, 5):
            torch.testing.assert_close(
                quantizer.codes_to_z(codes[..., :levels]), quantizer(x, num_quantizers=levels).z, atol=0, rtol=0
            )

    def test_dz_dx_is_the_identity(self):
        quantizer, x = self.trained(), normal(1, 1, 6, seed=9)
        jacobian = torch.autograd.functional.jacobian(lambda value: quantizer(value).z, x).view(6, 6)
        assert torch.equal(jacobian, torch.eye(6))

    def test_every_level_commits(self):
        """The gradient of the loss is 2 sum_i r_i / (n D Q): each level adds its own, not 0 after the first."""
        quantizer = self.trained()
        x = normal(2, 30, 6, seed=9)
        for levels in range(1, 5):
            leaf = x.clone().requires_grad_()
            quantized = quantizer(leaf, num_quantizers=levels)
            quantized.loss.backward()
            plain = x.clone().requires_grad_()
            left, losses = plain, []
            for level in range(levels):
                code = quantizer.core.codebooks[level].codebook[quantized.codes[..., level]]
                losses.append((left - code).square().mean())
                left = left - code
            expected = torch.stack(losses).mean()
            expected.backward()
            torch.testing.assert_close(quantized.loss, expected)
            torch.testing.assert_close(leaf.grad, plain.grad)
            assert left.abs().mean() > 0.01

    @pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
    def test_loss_and_estimator_add_their_gradients(self, estimator):
        quantizer, x, weight = self.trained(gradient_estimator=estimator), normal(1, 9, 6), normal(1, 9, 6, seed=1)
        gradients = []
        for of_loss, of_z in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
            leaf = x.clone().requires_grad_()
            quantized = quantizer(leaf)
            (of_loss * quantized.loss + of_z * (quantized.z * weight).sum()).backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])

    def test_dropout_draws_all_depths_and_only_in_training(self):
        quantizer = build_quantizer("residual", 4, 8, 3, quantizer_dropout=True)
        depths = [step(quantizer, normal(1, 20, 4, seed=seed)).codes.shape[2] for seed in range(40)]
        assert set(depths) == {1, 2, 3}
        assert min(depths.count(depth) for depth in (1, 2, 3)) >= 5
        assert quantizer.eval()(normal(1, 20, 4)).codes.shape[2] == 3
        assert quantizer.train()(normal(1, 20, 4).requires_grad_(), num_quantizers=2).codes.shape[2] == 2

    def test_restarts_take_what_earlier_levels_left(self):
        """By the codes that quantized the batch: level 1's move from 100 to about 110 comes later."""
        quantizer = build_quantizer("residual", 2, 4, 2, dead_code_threshold=0.5, decay=0.95)
        coarse = torch.tensor([[100.0, 0], [-100, 0], [0, 100], [0, -100]])
        place_codes(quantizer, coarse, torch.full((4, 2), 500.0))
        x = 1.2 * coarse.repeat(25, 1)[None] + 0.1 * normal(1, 100, 2)
        second = quantizer.core.codebooks[1]
        second.code_counts.zero_()
        second.code_sums.zero_()
        assert step(quantizer, x).stats["restarted"].tolist()[1] >= 3
        assert quantizer.core.codebooks[0].codebook.abs().amax(dim=1).min() > 105
        lengths = second.codebook.abs().amax(dim=1).sort().values[1:]  # the first took all rows, and their mean
        torch.testing.assert_close(lengths, torch.full((3,), 20.0), atol=0.5, rtol=0)


class TestGradientEstimators:
    def test_rotation_golden(self):
        x, q = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
        jacobian = torch.autograd.functional.jacobian(lambda value: pass_gradient(value, q, "rotation"), x).view(2, 2)
        torch.testing.assert_close(jacobian, torch.tensor([[0.32, -0.24], [0.24, 0.32]]))
        torch.testing.assert_close(jacobian @ jacobian.T, 0.16 * torch.eye(2))
        assert torch.equal(pass_gradient(x, q, "rotation"), q)

    @pytest.mark.parametrize("dim", [2, 3, 16])
    def test_rotation_is_a_scaled_orthogonal_map_that_takes_x_to_q(self, dim):
        for seed in range(5):
            x, q = normal(1, dim, seed=seed), 3 * normal(1, dim, seed=50 + seed)
            function = lambda value, q=q: pass_gradient(value, q, "rotation")  # noqa: E731
            jacobian = torch.autograd.functional.jacobian(function, x).view(dim, dim)
            scale = (q.norm() / x.norm()) ** 2
            torch.testing.assert_close(jacobian @ jacobian.T, scale * torch.eye(dim), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(x @ jacobian.T, q, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("x", "q"), [([1.0, 2.0], [-2.0, -4.0]), ([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [0.0, 0.0]), ([0.0], [2.0])]
    )
    def test_rotation_where_it_degenerates(self, x, q):
        x, q = torch.tensor([x], requires_grad=True), torch.tensor([q])
        z = pass_gradient(x, q, "rotation")
        z.sum().backward()
        assert torch.equal(z, q)
        assert torch.isfinite(x.grad).all()
        assert x.grad.norm() <= 5.0

    def test_straight_through_in_one_dimension(self):
        x = torch.tensor([[3.0]], requires_grad=True)
        pass_gradient(x, torch.tensor([[1.0]]), "rotation").backward()
        assert x.grad.item() == 1.0


class TestGradientCodebooks:
    def test_loss_by_hand(self):
        quantizer = build_quantizer("gradient", 2, 2)
        with torch.no_grad():
            quantizer.core.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0]]))
        x = torch.tensor([[[1.0, 2.0], [9.0, 0.0]]], requires_grad=True)
        quantized = quantizer.train()(x)
        mean = (5 + 1) / 4
        assert quantized.loss.item() == pytest.approx(1.25 * mean)
        (quantized.loss + quantized.z.sum()).backward()
        torch.testing.assert_close(quantizer.core.codebook.grad, torch.tensor([[-0.5, -1.0], [0.5, 0.0]]))
        torch.testing.assert_close(x.grad, 1.0 + 0.25 * torch.tensor([[[0.5, 1.0], [-0.5, 0.0]]]))

    def test_start_is_uniform_within_one_over_k(self):
        codebook = build_quantizer("gradient", 64, 256).core.codebook
        assert codebook.abs().max() <= 1 / 256
        assert codebook.std().item() == pytest.approx(2 / 256 / math.sqrt(12), rel=0.05)

    def test_kmeans_start_happens_once(self):
        quantizer = build_quantizer("gradient", 2, 4, kmeans_init=True)
        step(quantizer, 50 + normal(1, 40, 2))
        started = quantizer.core.codebook.detach().clone()
        assert (started - 50).abs().max() < 5
        step(quantizer, normal(1, 40, 2))
        assert torch.equal(quantizer.core.codebook, started)

    def test_simvq_folds_into_a_table(self):
        quantizer, x = build_quantizer("simvq", 4, 32).eval(), normal(2, 20, 4)
        table = quantizer.core.folded()
        codes = torch.cdist(x.view(-1, 4), table).argmin(dim=1)
        quantized = quantizer(x)
        assert torch.equal(quantized.codes.flatten(), codes)
        assert torch.equal(quantized.z.view(-1, 4), table[codes])
        torch.testing.assert_close(table, quantizer.core.anchors @ quantizer.core.map.weight.T)

    def test_simvq_moves_the_whole_codebook(self):
        """One step on one vector changes codes that it did not choose."""
        quantizer = build_quantizer("simvq", 4, 32)
        before = quantizer.core.folded().detach()
        step(quantizer, normal(1, 1, 4)).loss.backward()
        with torch.no_grad():
            quantizer.core.map.weight -= 0.5 * quantizer.core.map.weight.grad
        assert ((quantizer.core.folded() - before).norm(dim=1) > 1e-6).all()

    def test_cosine_compares_directions(self):
        quantizer = build_quantizer("gradient", 2, 2, cosine=True)
        with torch.no_grad():
            quantizer.core.codebook.copy_(torch.tensor([[100.0, 0.0], [0.0, 0.01]]))
        quantized = quantizer(torch.tensor([[[0.001, 0.002], [5.0, 4.0]]]))
        assert quantized.codes.flatten().tolist() == [1, 0]
        torch.testing.assert_close(quantized.z[0], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


class TestFSQ:
    def quantize(self, levels, rows):
        core = FSQ(math.prod(levels), levels=levels)
        return core, core(torch.tensor(rows), 1.0, None, False)

    def test_golden(self):
        core, result = self.quantize(
            [8, 5, 5, 5], [[0.0, 0, 0, 0], [0.3, -0.7, 1.5, -3], [9.0, 9, 9, 9], [-9.0, -9, -9, -9]]
        )
        assert result.codes.flatten().tolist() == [500, 173, 999, 0]
        middle = torch.tensor([4.0, 2, 2, 2])
        torch.testing.assert_close(result.z[1] * middle, torch.tensor([1.0, -1, 2, -2]))
        assert torch.equal(core.lookup(result.codes), result.z)
        assert result.loss.item() == 0.0

    @pytest.mark.parametrize("levels", [*[levels for size, levels in FSQ_LEVELS.items() if size < 5000], (2, 3), (2,)])
    def test_bijection(self, levels):
        core = FSQ(math.prod(levels), levels=levels)
        indices = torch.arange(core.codebook_size)[:, None]
        values = core.lookup(indices)
        assert values.unique(dim=0).shape == (core.codebook_size, len(levels))
        # The latent in the middle of a code's cell is quantized to that code.
        size = torch.tensor(levels)
        half, offset = (size - 1) * (1 - 1e-3) / 2, torch.where(size % 2 == 0, 0.5, 0.0)
        squeezed = (values * (size // 2) + offset) / half
        inside = torch.atanh(squeezed.clamp(-1 + 1e-4, 1 - 1e-4)) - torch.tan(offset / half)
        assert torch.equal(core(inside, 1.0, None, False).codes, indices)

    def test_infinite_inputs_stay_bounded(self):
        core, result = self.quantize([4, 5, 8, 2], [[math.inf] * 4, [-math.inf] * 4])
        assert result.codes.flatten().tolist() == [core.codebook_size - 1, 0]
        torch.testing.assert_close(result.z, torch.tensor([[0.5, 1, 0.75, 0], [-1.0, -1, -1, -1]]))

    def test_gradient_is_that_of_the_bound(self):
        core = FSQ(1000)
        rows = normal(5, 4).requires_grad_()
        core(rows, 1.0, None, False).z.sum().backward()
        plain = rows.detach().requires_grad_()
        (core.bound(plain) / torch.tensor([4, 2, 2, 2])).sum().backward()
        torch.testing.assert_close(rows.grad, plain.grad)

    def test_parameter_count(self):
        quantizer = build_quantizer("fsq", 512, 1000)
        assert sum(parameter.numel() for parameter in quantizer.parameters()) == 4612


class TestLFQ:
    def loss(self, rows, **options):
        rows = torch.as_tensor(rows)
        core = LFQ(2 ** rows.shape[1], **options)
        return core(rows, float(len(rows)), None, False).loss

    def test_golden(self):
        result = LFQ(16)(torch.tensor([[0.2, -1, 0.5, -0.1]]), 1.0, None, False)
        assert result.codes.item() == 10
        assert result.z[0].tolist() == [1, -1, 1, -1]

    def test_bits_round_trip(self):
        core = LFQ(64, scale=0.5)
        codes = torch.arange(64)[:, None]
        signs = core.lookup(codes)
        assert torch.equal(core(signs, 64.0, None, False).codes, codes)
        assert signs.abs().unique().tolist() == [0.5]

    @pytest.mark.parametrize("update", [False, True])
    @pytest.mark.parametrize("bits", [1, 2, 5])
    def test_entropies_are_those_of_the_softmax_over_all_codes(self, bits, update):
        rows = (0.05 * normal(30, bits)).requires_grad_()
        core = LFQ(2**bits, inverse_temperature=7.0, gamma=0.7, scale=0.9)
        loss = core(rows, 30.0, None, update).loss
        (gradient,) = torch.autograd.grad(loss, rows)
        codes = 0.9 * torch.tensor(list(itertools.product([-1.0, 1.0], repeat=bits)))
        shares = F.softmax(2 * 7.0 * rows @ codes.T, dim=1)
        each = -(shares * shares.log()).sum(dim=1).mean()
        mean = shares.mean(dim=0)
        expected = each + 0.7 * (mean * mean.log()).sum()
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, rows)[0], atol=1e-6, rtol=1e-4)

    def test_lower_for_sure_and_balanced_batches(self):
        balanced = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
        assert self.loss(balanced) == pytest.approx(-3 * math.log(2), abs=1e-4)
        assert self.loss(balanced) < self.loss(0.001 * balanced)
        assert self.loss(balanced) < self.loss(torch.ones(8, 3))

    def test_gradient_is_finite_where_probabilities_underflow(self):
        rows = torch.tensor([[50.0, -50.0], [0.0, 1e-9]], requires_grad=True)
        self.loss(rows).backward()
        assert torch.isfinite(rows.grad).all()

    def test_parameter_count(self):
        quantizer = build_quantizer("lfq", 512, 1024)
        assert sum(parameter.numel() for parameter in quantizer.parameters()) == 10_762


class TestKMeans:
    def test_finds_separated_clusters(self):
        centres = 20 * normal(5, 3)
        rows = (centres[:, None] + 0.01 * normal(5, 50, 3, seed=1)).view(-1, 3)
        # Random starts may double up; of several seeds the best must separate the clusters.
        errors = []
        for seed in range(10):
            found, hits = kmeans(rows, 5, 10, make_generator(seed, 0, 0))
            assert hits.sum() == 250
            errors.append(torch.cdist(centres, found).min(dim=1).values.max().item())
        assert min(errors) < 0.05

    def test_empty_clusters_keep_their_centre(self):
        rows = torch.ones(20, 2)
        found, hits = kmeans(rows, 4, 5, make_generator(0, 0, 0))
        assert torch.equal(found, torch.ones(4, 2))
        assert hits.tolist() == [20, 0, 0, 0]


def test_state_sizes():
    """Buffers and parameters of each flavour, beside the flags."""
    levels = build_quantizer("residual", 128, 1024, 4).core.codebooks
    large = sum(buffer.numel() for level in levels for buffer in level.buffers() if buffer.dim())
    assert large == 4 * (2 * 1024 * 128 + 1024)
    assert not list(levels.parameters())
    assert sum(p.numel() for p in build_quantizer("gradient", 1024, 256).parameters()) == 262_144
    simvq = build_quantizer("simvq", 32, 64)
    assert sum(p.numel() for p in simvq.parameters()) == 32 * 32
