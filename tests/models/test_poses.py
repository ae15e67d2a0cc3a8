"""A `Pose` cannot hold what no later step could make sense of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from signllm import Pose, PoseError


@pytest.mark.parametrize(
    ("values", "fps", "message"),
    [
        (np.zeros((0, 56, 2)), 25, "zero frames"),
        (np.zeros((3, 56)), 25, r"\[frames, joints, 2 or 3\], got \[3, 56\]"),
        (np.zeros((3, 56, 5)), 25, r"got \[3, 56, 5\]"),
        (np.zeros((3, 56, 2)), 0, "fps must be a positive number, got 0"),
        (np.zeros((3, 56, 2)), -25, "fps must be a positive number, got -25"),
        (np.zeros((3, 56, 2)), float("nan"), "fps must be a positive number, got nan"),
        (np.full((3, 56, 2), 1e30), 25, "frame 0, joint 0 is at .*missing joints must be NaN"),
        (np.full((3, 56, 2), np.inf), 25, "infinite or beyond"),
        (np.full((3, 56, 2), -np.inf), 25, "infinite or beyond"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(values, fps, message):
    with pytest.raises(PoseError, match=rf"clip\.pose: .*{message}"):
        Pose(values, None, fps, "sts56", source="clip.pose")


def test_confidence_must_fit():
    with pytest.raises(PoseError, match=r"confidence must be \[2, 56\] like the joints, got \[2, 55\]"):
        Pose(np.zeros((2, 56, 2)), np.ones((2, 55)), 25, "sts56")


@given(
    arrays.arrays(np.float32, (3, 4, 2), elements=st.floats(-100, 100, width=32) | st.just(float("nan"))),
    arrays.arrays(np.float32, (3, 4), elements=st.floats(-1, 3, width=32) | st.just(float("nan"))),
)
def test_missing_is_the_same_in_values_and_confidence(values, confidence):
    pose = Pose(values, confidence, 25, "any")
    missing = np.isnan(values).any(axis=2) | ~(confidence > 0)
    np.testing.assert_array_equal(np.isnan(pose.values).all(axis=2), missing)
    np.testing.assert_array_equal(pose.confidence == 0, missing)
    assert ((pose.confidence >= 0) & (pose.confidence <= 1)).all()
    np.testing.assert_array_equal(pose.joint_mask, ~missing)


def test_cutting_and_replacing():
    pose = Pose(np.arange(40.0).reshape(5, 4, 2), None, 20, "any")
    part = pose[1:3]
    np.testing.assert_array_equal(part.values, pose.values[1:3])
    assert (len(part), len(pose), pose.duration_s) == (2, 5, 0.25)
    assert pose.replace(fps=10).duration_s == 0.5
    with pytest.raises(TypeError, match="slice of frames, got int"):
        pose[1]
