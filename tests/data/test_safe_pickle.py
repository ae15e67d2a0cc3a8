"""Pickles: what corpora need comes through, everything else is refused before it runs."""

import os
import pickle
import subprocess

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from pose_files import dwpose_folder, dwpose_person, keypoint_pickle

from signllm.data import read_pose
from signllm.data.formats.npy import parse_npy
from signllm.data.safe_pickle import safe_loads
from signllm.models.poses import PoseError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Runs:
    """A pickle of this object runs `function(*arguments)` where it is trusted."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refused(data, match=r"outside the allow-list"):
    with pytest.raises(pickle.UnpicklingError, match=match):
        safe_loads(data)


@settings(deadline=None, max_examples=80)
@given(
    array=arrays(
        st.sampled_from([np.float32, np.float64, ">f4", np.int64, np.uint8, bool, "U3"]),
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    fortran=st.booleans(),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_arrays_come_through(array, fortran, protocol):
    array = np.asfortranarray(array) if fortran and array.ndim else array
    loaded = safe_loads(pickle.dumps({"a": array, "again": array}, protocol=protocol))
    assert loaded["a"] is loaded["again"]
    assert loaded["a"].dtype == array.dtype
    assert loaded["a"].shape == array.shape
    assert loaded["a"].tobytes() == array.tobytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_come_through(protocol):
    value = {
        "list": [1, 2.5, None, True, "ö"],
        "tuple": (1, (2,)),
        "set": {1, 2},
        "bytes": b"\x00x",
        "none": b"",
        3: 1j,
    }
    assert safe_loads(pickle.dumps(value, protocol=protocol)) == value
    scalar = safe_loads(pickle.dumps(np.float32(1.5), protocol=protocol))
    assert scalar == 1.5
    assert scalar.dtype == np.float32
    nested = safe_loads(pickle.dumps(np.array([{"a": np.ones(2)}, "b"], dtype=object), protocol=protocol))
    assert nested.dtype == object
    assert np.array_equal(nested[0]["a"], [1, 1])
    assert nested[1] == "b"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "function", [os.system, subprocess.getoutput, eval, exec, getattr, __import__, open, bytearray]
)
def test_calls_are_refused_and_not_made(tmp_path, protocol, function):
    target = tmp_path / "owned"
    command = f"touch {target}" if function in (os.system, subprocess.getoutput) else f"open({str(target)!r}, 'w')"
    arguments = (str(target), "w") if function is open else (command,)
    refused(pickle.dumps([1, Runs(function, *arguments)], protocol=protocol))
    assert not target.exists()


def test_other_classes_and_tensors_are_refused():
    import torch

    refused(pickle.dumps(torch.zeros(2)), match=r"torch\._utils")
    refused(pickle.dumps(np.random.default_rng(0)))
    refused(pickle.dumps(np.zeros(2, dtype=[("a", "f4")])))
    refused(pickle.dumps(np.array(["2020"], dtype="M8[D]")), match=r"'M8'")


def test_crafted_array_states_cannot_reach_memory():
    # numpy's own dtype believes these flags: the 16 bytes would become two pointers
    state = (1, (2,), False, b"\x41" * 16)
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    data = array + b"(I1\n(I2\nt" + dtype + b"I00\n" + pickle.dumps(state[3], 0)[:-1] + b"tb."
    refused(data, match=r"damaged|outside")
    short = np.ones(1000)
    refused(pickle.dumps(short, 4).replace(b"M\xe8\x03", b"M\xff\xff"), match=r"damaged")


def test_allowed_names_cannot_be_changed():
    # BUILD on a bare name would otherwise set attributes of this module's own objects
    refused(b"cnumpy\ndtype\n}S'x'\nI1\nsb.", match=r"tries to change")
    refused(b"c_codecs\nencode\n.", match=r"bare type")
    refused(b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", match=r"rot13")


def test_opcodes_outside_the_list_and_damage():
    refused(b"Pid\n.", match=r"damaged")
    refused(b"(c__builtin__\nset\no.", match=r"damaged")
    refused(b"\x82\x01.", match=r"damaged")
    refused(b"\x96\xff\xff\xff\xff\xff\xff\xff\x0f.", match=r"damaged")  # a bytearray of 10^18 bytes
    refused(b"", match=r"damaged")
    refused(pickle.dumps([1] * 100)[:50], match=r"damaged")


def test_readers_name_the_file_and_what_it_asks_for(tmp_path):
    target = tmp_path / "owned"
    bad = tmp_path / "keypoints.pkl"
    bad.write_bytes(pickle.dumps({"a": {"keypoints": Runs(os.system, f"touch {target}")}}))
    with pytest.raises(
        PoseError, match=r"keypoints.pkl: refused: it asks for \w+\.system, which is outside the allow-list"
    ):
        read_pose(bad, fps=25)
    folder = dwpose_folder(tmp_path / "frames", [[dwpose_person(np.random.default_rng(0))]])
    frame = folder / "00000001.npz"
    np.savez(frame, num_persons=1, person_0=np.array({"body_keypoints": Runs(os.system, f"touch {target}")}))
    with pytest.raises(PoseError, match=r"00000001.npz: not a frame of DWPose .*system, which is outside"):
        read_pose(folder)
    np.save(tmp_path / "a.npy", np.array(Runs(os.system, f"touch {target}"), dtype=object))
    with pytest.raises(PoseError, match=r"a.npy.*system, which is outside"):
        read_pose(tmp_path / "a.npy", skeleton="sts56", fps=25)
    assert not target.exists()


def test_pickle_of_something_else(tmp_path):
    bad = tmp_path / "labels.pkl"
    for value, reason in (([1, 2], "holds a list"), ({"a": {"text": "x"}}, "no entry of this pickle has 'keypoints'")):
        bad.write_bytes(pickle.dumps(value))
        with pytest.raises(PoseError, match=f"labels.pkl.*{reason}"):
            read_pose(bad, fps=25)
    keypoint_pickle(bad, {"a": np.ones((2, 133))})
    with pytest.raises(PoseError, match=r"labels.pkl#a: keypoints must be numbers \[frames, joints, 3\]"):
        read_pose(bad, fps=25)


def test_npy_takes_no_more_memory_than_the_file():
    import io

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(ValueError, match=r"promises 4000000000000 bytes"):
        parse_npy(stream.getvalue() + b"\x00" * 8)
