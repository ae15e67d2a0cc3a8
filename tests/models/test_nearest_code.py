"""The fast search agrees with distances in float64, on either backend and for any shape."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models import nearest_code
from signllm.models.nearest_code import nearest_codes, search_codes


def exact_codes(rows, table):
    return torch.cdist(rows.double(), table.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)


@pytest.fixture(params=[True, False], ids=["convolution", "product"])
def backend(request, monkeypatch):
    monkeypatch.setattr(nearest_code, "_convolution_is_faster", lambda: request.param)
    monkeypatch.setattr(nearest_code, "CONVOLUTION_ROWS", 1)


@pytest.mark.parametrize(("size", "dim"), [(1024, 128), (512, 512), (64, 1), (1, 16)])
def test_agrees_with_float64(backend, size, dim):
    generator = torch.Generator().manual_seed(0)
    rows, table = torch.randn(3000, dim, generator=generator), torch.randn(size, dim, generator=generator)
    agreement = (nearest_codes(rows, table) == exact_codes(rows, table)).double().mean()
    assert agreement >= 0.9999


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(0, 70), size=st.integers(1, 40), dim=st.integers(1, 20), seed=st.integers(0, 99))
def test_any_shape_on_both_backends(rows, size, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    # Small integers: products are exact in float32, and ties abound.
    x = torch.randint(-2, 3, (rows, dim), generator=generator).float()
    table = torch.randint(-2, 3, (size, dim), generator=generator).float()
    scores = x.double() @ table.double().T - table.double().square().sum(1) / 2
    expected = scores.argmax(dim=1) if rows else torch.empty(0, dtype=torch.long)
    for convolution in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nearest_code, "_convolution_is_faster", lambda value=convolution: value)
            patch.setattr(nearest_code, "CONVOLUTION_ROWS", 1)
            patch.setattr(nearest_code, "CHUNK_ROWS", 32)
            assert torch.equal(nearest_codes(x, table), expected)


def test_equal_codes_give_the_lowest_index(backend):
    table = torch.tensor([[5.0, 5.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    assert nearest_codes(torch.ones(700, 2), table).unique().tolist() == [1]


def test_levels_sums_and_residuals(backend):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(1100, 8, generator=generator)
    tables = [torch.randn(16, 8, generator=generator) * scale for scale in (1.0, 0.5, 0.25)]
    found = search_codes(rows, tables, with_sums=True, with_residuals=True)
    left, total = rows, torch.zeros_like(rows)
    for level, table in enumerate(tables):
        codes = exact_codes(left, table)
        assert torch.equal(found.codes[:, level], codes)
        expected = torch.stack([left[codes == code].sum(dim=0) for code in range(16)])
        torch.testing.assert_close(found.sums[level], expected, atol=1e-4, rtol=1e-5)
        left = left - table[codes]
        total = total + left
        torch.testing.assert_close(found.squared_error[level], left.square().sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.residuals, total, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.z, rows - left, atol=1e-5, rtol=1e-5)


def test_other_types_take_the_plain_route():
    generator = torch.Generator().manual_seed(2)
    rows, table = torch.randn(50, 4, generator=generator).double(), torch.randn(9, 4, generator=generator).double()
    assert torch.equal(nearest_codes(rows, table), exact_codes(rows, table))
