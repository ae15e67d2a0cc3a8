"""Makes the package's classes known to transformers' Auto classes. Importing this module does it."""

from transformers import AutoConfig, AutoModel, AutoTokenizer

from signllm.data import read_pose
from signllm.models.configuration_sign_vq import SignVQConfig
from signllm.models.modeling_sign_vq import SignVQModel
from signllm.models.tokenization_sign_codec import SignTokenizer
from signllm.models.tokenization_sign_vq import SignVQTokenizer

# models/ must run where this package is absent, so it cannot import the readers: they are handed down to it.
SignTokenizer.pose_reader = staticmethod(read_pose)

AutoConfig.register("sign_vq", SignVQConfig, exist_ok=True)
AutoModel.register(SignVQConfig, SignVQModel, exist_ok=True)
AutoTokenizer.register(SignVQConfig, tokenizer_class=SignVQTokenizer, exist_ok=True)


def register() -> None:
    """Register `SignVQConfig`, `SignVQModel` and `SignVQTokenizer` with `AutoConfig`, `AutoModel`, `AutoTokenizer`.

    After it, `AutoTokenizer.from_pretrained(repository)` needs no `trust_remote_code`. Any use of a model class of the
    package does the same.
    """
