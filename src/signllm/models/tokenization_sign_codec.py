"""What every sign tokenizer does: poses -> sign tokens -> poses, with its codec in the same repository."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BatchEncoding, PreTrainedConfig, PreTrainedTokenizer
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import logging

from .pose_preparation import PreparedPose, pad_batch
from .poses import Pose, PoseError
from .sign_vocabulary import PAD, SIGN_END, SIGN_START, UNKNOWN, SignVocabulary

logger = logging.get_logger(__name__)

CODEC_FOLDER = "codec"
HUB_KEYWORDS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "trust_remote_code")


@dataclass
class ClipGeometry:
    """What tokens do not carry: where the clip stood, how large, how fast and how long it was."""

    origin: torch.Tensor
    scale: float
    fps: float
    num_frames: int
    units: str


class SignTokenizer(PreTrainedTokenizer):
    """Tokenizer of signing: poses in, ids of `<sign_…>` tokens out, and back.

    Accepted as poses, alone or in lists: `Pose` objects (any skeleton that converts), arrays or tensors `[T, J, C]`
    in the codec's own skeleton and frame rate with NaN where a joint is missing, and paths (`pathlib.Path`, or a
    string that names a file) when the signllm package is installed. Strings of tokens work as in any tokenizer.

    Args:
        codebook_size, num_quantizers: of the codec. codec_model_type: `model_type` of the codec's configuration.

    Attributes:
        codec: the model that encodes and decodes; None with `from_pretrained(..., load_codec=False)`.
        pose_reader: function that reads a pose file; the installed package sets it.
    """

    vocab_files_names: dict[str, str] = {}  # noqa: RUF012 (declared so by transformers)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    pose_reader: Callable[..., Pose] | None = None

    def __init__(
        self,
        codebook_size: int = 512,
        num_quantizers: int = 1,
        codec_model_type: str = "",
        bos_token: str = SIGN_START,
        eos_token: str = SIGN_END,
        pad_token: str = PAD,
        unk_token: str = UNKNOWN,
        **kwargs,
    ) -> None:
        self.vocabulary = SignVocabulary(codebook_size, num_quantizers)
        names = [*self.vocabulary.tokens(), SIGN_START, SIGN_END, PAD, UNKNOWN]
        self._ids = {name: number for number, name in enumerate(names)}
        self._names = names
        self.codec = None
        kwargs.setdefault("special_tokens_pattern", "bos_eos")
        super().__init__(
            codebook_size=codebook_size,
            num_quantizers=num_quantizers,
            codec_model_type=codec_model_type,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            unk_token=unk_token,
            **kwargs,
        )

    @classmethod
    def from_codec(cls, codec, **kwargs) -> SignTokenizer:
        """The tokenizer of a codec model."""
        config = codec.config
        tokenizer = cls(
            codebook_size=config.codebook_size,
            num_quantizers=config.num_quantizers,
            codec_model_type=config.model_type,
            **kwargs,
        )
        tokenizer.codec = codec.eval()
        return tokenizer

    # ---- text side: what transformers asks of a tokenizer -----------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        return len(self._names)

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        return re.findall(r"<[^<>\s]*>|[^<\s]+|<", text)

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[UNKNOWN])

    def _convert_id_to_token(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else UNKNOWN

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    # ---- poses -> ids -----------------------------------------------------------------------------------------------

    def __call__(self, inputs=None, *args, return_geometry: bool = False, **kwargs) -> BatchEncoding:
        """Tokenize poses (or strings of sign tokens) to `input_ids` and `attention_mask`.

        Args:
            inputs: see the class; a list gives a batch.
            return_geometry: also return `geometry`, a `ClipGeometry` for each clip, with which `decode_pose` puts the
                clip back where it was. kwargs: `padding`, `truncation`, `max_length`, `return_tensors`,
                `add_special_tokens` as in every tokenizer; `fps`, `skeleton` of bare arrays; `batch_size` for the
                codec.

        Raises:
            PoseError: a pose that cannot be used. RuntimeError: no codec is loaded.
        """
        if not _holds_poses(inputs):
            return super().__call__(inputs, *args, **kwargs)
        if args:
            raise TypeError("with poses, give everything but the poses by keyword")
        single = not isinstance(inputs, (list, tuple))
        how = {name: kwargs.pop(name) for name in ("fps", "skeleton", "batch_size") if name in kwargs}
        return_tensors = kwargs.pop("return_tensors", None)
        padding = kwargs.pop("padding", False)
        max_length, multiple = kwargs.get("max_length"), kwargs.pop("pad_to_multiple_of", None)
        codes, geometry = self.encode_poses([inputs] if single else inputs, **how)
        rows = [self.prepare_for_model(self.vocabulary.ids(row), **kwargs) for row in codes]
        batch = self.pad(rows, padding=padding, max_length=max_length, pad_to_multiple_of=multiple)
        data = {name: values[0] if single else values for name, values in batch.items()}
        encoding = BatchEncoding(data, tensor_type=return_tensors, prepend_batch_axis=single)
        if return_geometry:
            encoding["geometry"] = geometry[0] if single else geometry
        return encoding

    def encode_poses(
        self, poses: Sequence[Any], *, batch_size: int = 16, fps: float | None = None, skeleton: str | None = None
    ) -> tuple[list[np.ndarray], list[ClipGeometry]]:
        """Poses -> codes of each clip (`[T']`, or `[Q, T']`) and its geometry.

        Clips of similar length share a batch; the result does not depend on batches.
        """
        codec = self._need_codec()
        prepare = codec.config.preparation
        clips = [
            prepare(self.to_pose(pose, fps=fps, skeleton=skeleton), dims=codec.config.num_coordinates)
            for pose in poses
        ]
        codes: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(clips)
        order = sorted(range(len(clips)), key=lambda row: len(clips[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = {name: value.to(codec.device) for name, value in pad_batch([clips[row] for row in rows]).items()}
            encoded = codec.encode(**batch)
            steps = encoded.code_mask.sum(dim=1).tolist()
            for row, sequence, length in zip(rows, encoded.sign_codes.cpu().numpy(), steps, strict=True):
                codes[row] = sequence[..., :length]
        return codes, [_geometry(clip) for clip in clips]

    def to_pose(self, pose: Any, *, fps: float | None = None, skeleton: str | None = None) -> Pose:
        """A `Pose`, an array in the codec's skeleton, or a path -> `Pose`."""
        if isinstance(pose, (str, os.PathLike)):
            if self.pose_reader is None:
                raise PoseError(
                    f"{pose}: reading pose files needs the signllm package (pip install signllm); without it, give "
                    "arrays"
                )
            return type(self).pose_reader(pose)  # type: ignore[misc]
        if isinstance(pose, (np.ndarray, torch.Tensor)):
            config = self._need_codec().config
            values = pose.detach().cpu().numpy() if isinstance(pose, torch.Tensor) else pose
            seen = np.ones(values.shape[:2], dtype=np.float32)
            return Pose(values, seen, fps or config.fps, skeleton or config.skeleton, units="arbitrary")
        return pose

    def _need_codec(self):
        if self.codec is None:
            raise RuntimeError("this tokenizer was loaded without its codec (load_codec=False): it knows only text")
        return self.codec

    # ---- ids -> poses -----------------------------------------------------------------------------------------------

    def ids_to_codes(self, ids) -> tuple[np.ndarray, int]:
        """Ids of one clip -> codes `[T']` (or `[Q, T']`) and the number of ids that had to be dropped.

        Never fails on ill-formed ids. Start, end and padding are not counted as dropped.
        """
        ids = np.asarray(ids.cpu() if isinstance(ids, torch.Tensor) else ids).reshape(-1).tolist()
        framing = {self.bos_token_id, self.eos_token_id, self.pad_token_id}
        codes, dropped = self.vocabulary.codes([number for number in ids if number not in framing])
        return (codes[0] if self.vocabulary.num_quantizers == 1 else codes), dropped

    @torch.no_grad()
    def decode_pose(self, ids, geometry: ClipGeometry | None = None) -> Pose:
        """Ids (or a string of sign tokens) of one clip -> `Pose`.

        Ill-formed parts are dropped with a warning that says how much; if nothing is left, the clip is one step of
        missing joints. With `geometry` the pose stands where the original stood and has its length; without, it is in
        shoulder widths around the root joint.
        """
        codec = self._need_codec()
        if isinstance(ids, str):
            ids = self.convert_tokens_to_ids(self.tokenize(ids))
        codes, dropped = self.ids_to_codes(ids)
        if dropped:
            logger.warning(f"dropped {dropped} of {np.size(ids)} ids that do not form sign codes")
        preparation, step = codec.config.preparation, codec.config.downsampling
        empty = codes.shape[-1] == 0
        if empty:
            values = torch.full((step, codec.config.num_joints, codec.config.num_coordinates), torch.nan)
        else:
            values = codec.decode(torch.from_numpy(codes)[None].to(codec.device)).pose_values[0]
        if geometry is None:
            return preparation.restore(values)
        if not empty:
            values = values[: geometry.num_frames]
        return preparation.restore(
            values, origin=geometry.origin, scale=geometry.scale, fps=geometry.fps, units=geometry.units
        )

    # ---- other tokenizers -------------------------------------------------------------------------------------------

    def extend(self, text_tokenizer: PreTrainedTokenizer) -> list[int]:
        """Add the sign tokens, start and end to a text tokenizer; returns their ids there, in the order of ours.

        Remember `model.resize_token_embeddings(len(text_tokenizer))`. Tokens that are there are not added again.
        """
        names = [*self.vocabulary.tokens(), SIGN_START, SIGN_END]
        text_tokenizer.add_tokens(names)
        return list(text_tokenizer.convert_tokens_to_ids(names))  # type: ignore[arg-type]

    # ---- one repository holds both ----------------------------------------------------------------------------------

    def save_pretrained(
        self, save_directory, *args, save_codec: bool = True, push_to_hub: bool = False, **kwargs
    ) -> tuple[str, ...]:
        """Save the tokenizer and its codec, once.

        The codec goes to the folder itself, so that `AutoModel` finds it there; where another model lives in the
        folder (trainers and pipelines save tokenizers beside models) it goes to `codec/`, and that model is untouched.
        """
        directory = str(save_directory)
        files = super().save_pretrained(directory, *args, **kwargs)
        if self.codec is not None and save_codec:
            if _model_type(os.path.join(directory, "config.json")) in (None, self.codec.config.model_type):
                self.codec.save_pretrained(directory)
            else:
                self.codec.save_pretrained(os.path.join(directory, CODEC_FOLDER))
                # With remote code, transformers looks for the classes of a sub-folder at the root.
                custom_object_save(self.codec, directory)
        if push_to_hub:
            self.push_to_hub(kwargs.get("repo_id") or os.path.basename(os.path.normpath(directory)))
        return files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, codec=None, load_codec: bool = True, **kwargs):
        """Load the tokenizer and its codec.

        Args:
            codec: a codec that is loaded already. load_codec: False for the text side alone.

        Raises:
            OSError: the repository holds no codec. ValueError: tokenizer and codec disagree.
        """
        tokenizer = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if codec is None and load_codec:
            hub = {name: kwargs[name] for name in HUB_KEYWORDS if kwargs.get(name) is not None}
            codec = _load_codec(pretrained_model_name_or_path, tokenizer.init_kwargs["codec_model_type"], hub)
        if codec is not None:
            _check_agreement(tokenizer, codec, pretrained_model_name_or_path)
            tokenizer.codec = codec.eval()
        return tokenizer


def _geometry(clip: PreparedPose) -> ClipGeometry:
    return ClipGeometry(clip.origin, clip.scale, clip.fps, len(clip), clip.units)


def _holds_poses(inputs) -> bool:
    """Poses, as against text; a list is judged by its first member."""
    if isinstance(inputs, (list, tuple)):
        return len(inputs) > 0 and _holds_poses(inputs[0])
    if isinstance(inputs, str):
        return "<sign" not in inputs and os.path.exists(inputs)
    # By its fields and not its class: with remote code a Pose of the package and of the repository are two classes.
    return isinstance(inputs, (np.ndarray, torch.Tensor, os.PathLike)) or hasattr(inputs, "skeleton")


def _model_type(config_file: str) -> str | None:
    if not os.path.isfile(config_file):
        return None
    with open(config_file, encoding="utf-8") as file:
        return json.load(file).get("model_type", "")


def _load_codec(repository: str, model_type: str, hub: dict):
    found = []
    for subfolder in ("", CODEC_FOLDER):
        options = {key: value for key, value in hub.items() if key != "trust_remote_code"}
        try:
            config, _ = PreTrainedConfig.get_config_dict(repository, subfolder=subfolder, **options)
        except OSError:
            continue
        if config.get("model_type") == model_type:
            return AutoModel.from_pretrained(repository, subfolder=subfolder, **hub)
        found.append(config.get("model_type"))
    beside = f" (it holds a model of type {', '.join(map(str, found))}, saved over the codec?)" if found else ""
    raise OSError(
        f"{repository} has no codec of type {model_type!r} beside its sign tokenizer{beside}. Save the tokenizer "
        "after the model, or load with load_codec=False for the text side alone"
    )


def _check_agreement(tokenizer: SignTokenizer, codec, where) -> None:
    ours = (tokenizer.vocabulary.codebook_size, tokenizer.vocabulary.num_quantizers)
    theirs = (codec.config.codebook_size, codec.config.num_quantizers)
    if ours != theirs:
        raise ValueError(
            f"{where}: tokenizer and codec disagree: the tokenizer has {ours[1]} codebook(s) of {ours[0]} codes, the "
            f"codec {theirs[1]} of {theirs[0]}. One of them was replaced; build the tokenizer by from_codec(codec)"
        )
