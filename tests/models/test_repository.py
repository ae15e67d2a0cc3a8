"""One repository holds tokenizer and codec: with the package installed, and where it is absent (remote code)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import signllm
from signllm import SignVQModel, SignVQTokenizer
from tests.models.conftest import random_poses, tiny_config, trained

signllm.register()

# A fresh interpreter in which `import signllm` fails; it loads, uses and re-saves a repository by remote code alone.
ABSENT = """
import json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "signllm":
            raise ImportError("signllm is not installed here")
sys.meta_path.insert(0, Block())
import numpy, torch
from transformers import AutoModel, AutoTokenizer
repository, again, poses = sys.argv[1:4]
codec_folder = sys.argv[4] if len(sys.argv) > 4 else repository
values = numpy.load(poses)
def use(folder, codec_folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    codec = AutoModel.from_pretrained(codec_folder, trust_remote_code=True)
    assert type(tokenizer.codec).__name__ == type(codec).__name__ == "SignVQModel", type(tokenizer.codec)
    assert type(tokenizer.codec).__module__.startswith("transformers_modules"), type(tokenizer.codec)
    with torch.no_grad():
        codes = codec.encode(torch.from_numpy(values)[None]).sign_codes[0].tolist()
    ids = tokenizer(values)["input_ids"]
    return tokenizer, ids, codes, tokenizer.decode_pose(ids).values.tolist()
tokenizer, *first = use(repository, codec_folder)
tokenizer.save_pretrained(again)
second = use(again, again)[1:]
assert first == list(second)
from pathlib import Path
try:
    tokenizer(Path("clip.pose"))
    error = ""
except Exception as problem:
    error = str(problem)
print(json.dumps({"ids": first[0], "codes": first[1], "pose": first[2], "error": error}))
"""


@pytest.fixture(scope="module")
def codec() -> SignVQModel:
    return trained(tiny_config(scale="none", center="none"))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return random_poses(1, 22, seed=3, missing=0.0)[0][0].numpy()


@pytest.fixture
def foreign(tmp_path) -> Path:
    """The folder of another model: a small Llama."""
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def weights(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*.safetensors"))


def run_without_package(tmp_path: Path, *arguments) -> dict:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, *map(str, arguments)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_auto_classes_find_tokenizer_and_codec_and_weights_are_stored_once(codec, values, tmp_path):
    tokenizer = SignVQTokenizer.from_codec(codec)
    tokenizer.save_pretrained(tmp_path / "repo")
    assert weights(tmp_path / "repo") == [Path("model.safetensors")]
    loaded = AutoTokenizer.from_pretrained(tmp_path / "repo")
    assert type(loaded) is SignVQTokenizer
    assert type(loaded.codec) is type(AutoModel.from_pretrained(tmp_path / "repo")) is SignVQModel
    assert AutoConfig.from_pretrained(tmp_path / "repo").model_type == "sign_vq"
    ids = tokenizer(values)["input_ids"]
    assert loaded(values)["input_ids"] == ids
    np.testing.assert_array_equal(loaded.decode_pose(ids).values, tokenizer.decode_pose(ids).values)


def test_saving_again_and_again_changes_nothing(codec, values, tmp_path):
    tokenizer = SignVQTokenizer.from_codec(codec)
    expected = tokenizer(values)["input_ids"]
    for number in range(3):
        tokenizer.save_pretrained(tmp_path / str(number))
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / str(number))
        assert tokenizer(values)["input_ids"] == expected
    files = [sorted(path.name for path in (tmp_path / str(number)).iterdir()) for number in range(3)]
    assert files[0] == files[1] == files[2]


def test_the_codec_saved_first_is_found_by_the_tokenizer(codec, values, tmp_path):
    codec.save_pretrained(tmp_path)
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path, save_codec=False)
    assert AutoTokenizer.from_pretrained(tmp_path)(values) == SignVQTokenizer.from_codec(codec)(values)


def test_another_models_folder_is_left_alone(codec, values, foreign, tmp_path):
    before = {name: (foreign / name).read_bytes() for name in ("config.json", "model.safetensors")}
    tokenizer = SignVQTokenizer.from_codec(codec)
    expected = tokenizer(values)["input_ids"]
    for _ in range(2):  # trainers save at every checkpoint
        tokenizer.save_pretrained(foreign)
        assert {name: (foreign / name).read_bytes() for name in before} == before
        assert weights(foreign) == [Path("codec/model.safetensors"), Path("model.safetensors")]
        assert type(AutoModelForCausalLM.from_pretrained(foreign)).__name__ == "LlamaForCausalLM"
        tokenizer = AutoTokenizer.from_pretrained(foreign)
        assert tokenizer(values)["input_ids"] == expected
    tokenizer.save_pretrained(tmp_path / "own")
    assert weights(tmp_path / "own") == [Path("model.safetensors")]
    assert AutoTokenizer.from_pretrained(tmp_path / "own")(values)["input_ids"] == expected


def test_a_codec_overwritten_by_another_model_is_said_so(codec, foreign, tmp_path):
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path / "repo")
    LlamaForCausalLM.from_pretrained(foreign).save_pretrained(tmp_path / "repo")
    with pytest.raises(OSError, match=r"no codec of type 'sign_vq'.*model of type llama.*Save the tokenizer after"):
        AutoTokenizer.from_pretrained(tmp_path / "repo")
    assert AutoTokenizer.from_pretrained(tmp_path / "repo", load_codec=False).codec is None


def test_tokenizer_and_codec_that_disagree_are_refused(codec, tmp_path):
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path)
    trained(tiny_config(codebook_size=64)).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"disagree: the tokenizer has 1 codebook\(s\) of 16 codes, the codec 1 of 64"
    ):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_loaded_codec_can_be_handed_over(codec, tmp_path):
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path)
    assert SignVQTokenizer.from_pretrained(tmp_path, codec=codec).codec is codec


def test_nothing_in_a_repository_is_a_pickle(codec, tmp_path):
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".py", ".json", ".safetensors"}


def test_push_to_hub_uploads_tokenizer_codec_and_code(codec, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(SignVQTokenizer, "push_to_hub", lambda self, repo_id, **kwargs: pushed.append(repo_id))
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path / "my-signs", push_to_hub=True)
    SignVQTokenizer.from_codec(codec).save_pretrained(tmp_path / "x", push_to_hub=True, repo_id="org/signs")
    assert pushed == ["my-signs", "org/signs"]


def test_runs_where_the_package_is_absent(codec, values, tmp_path):
    tokenizer = SignVQTokenizer.from_codec(codec)
    tokenizer.save_pretrained(tmp_path / "repo")
    np.save(tmp_path / "clip.npy", values)
    seen = run_without_package(tmp_path, tmp_path / "repo", tmp_path / "again", tmp_path / "clip.npy")
    ids = tokenizer(values)["input_ids"]
    assert seen["ids"] == ids
    assert seen["codes"] == ids[1:-1]
    np.testing.assert_allclose(seen["pose"], tokenizer.decode_pose(ids).values, atol=1e-6)
    assert "pip install signllm" in seen["error"]
    # what the other process saved is a full repository here as well
    assert AutoTokenizer.from_pretrained(tmp_path / "again")(values)["input_ids"] == ids


def test_runs_from_another_models_folder_where_the_package_is_absent(codec, values, foreign, tmp_path):
    tokenizer = SignVQTokenizer.from_codec(codec)
    tokenizer.save_pretrained(foreign)
    np.save(tmp_path / "clip.npy", values)
    seen = run_without_package(tmp_path, foreign, tmp_path / "again", tmp_path / "clip.npy", foreign / "codec")
    assert seen["ids"] == tokenizer(values)["input_ids"]


def test_remote_code_beside_the_installed_package(codec, values, tmp_path):
    """With both, transformers takes the local model and the remote tokenizer; they must work together."""
    tokenizer = SignVQTokenizer.from_codec(codec)
    tokenizer.save_pretrained(tmp_path / "repo")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "repo", trust_remote_code=True)
    assert loaded(values)["input_ids"] == tokenizer(values)["input_ids"]
    pose = signllm.Pose(values, None, 25, "sts56")
    assert loaded(pose)["input_ids"] == tokenizer(pose)["input_ids"]
    assert torch.is_tensor(loaded(pose, return_tensors="pt")["input_ids"])
