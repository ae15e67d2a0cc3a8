"""Tokenizer of the STS VQ-VAE codec."""

from __future__ import annotations

from .tokenization_sign_codec import SignTokenizer


class SignVQTokenizer(SignTokenizer):
    """Sign tokenizer whose codec is a `SignVQModel`; see `SignTokenizer`."""


SignVQTokenizer.register_for_auto_class("AutoTokenizer")
