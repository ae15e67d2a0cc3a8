"""The facts behind `skeletons.py`: joint names in file order, bones, kinematic parents, and what stands in for what.

Left and right are always the *signer's*. One name means one thing in every layout, so conversion is a matter of names:

- body: `nose`, `neck`, `left_shoulder`, ... (MediaPipe, OpenPose and COCO joints of the same meaning share a name)
- hands: `left_hand_wrist`, `left_thumb_cmc`, ..., `left_pinky_tip`; all layouts number the 21 points alike
- face: `face_mesh_<i>` for MediaPipe's mesh (468..477 are the irises), `face_<i>` for the 68 iBUG points
  (68 and 69 are OpenPose's right and left pupil)
- `world_<joint>`: MediaPipe's second body estimate, in metres from the hips

Everything here is data, or a few lines that write regular data out.
"""

from __future__ import annotations

from itertools import pairwise

SIDES = ("left", "right")
FINGERS = ("index", "middle", "ring", "pinky")

# --------------------------------------------------------------------------------------------------------------------
# Joint names
# --------------------------------------------------------------------------------------------------------------------


def hand_joints(side: str) -> tuple[str, ...]:
    """The 21 points of one hand: wrist, thumb from palm to tip, then index to pinky."""
    thumb = [f"{side}_thumb_{bone}" for bone in ("cmc", "mcp", "ip", "tip")]
    fingers = [f"{side}_{finger}_{bone}" for finger in FINGERS for bone in ("mcp", "pip", "dip", "tip")]
    return (f"{side}_hand_wrist", *thumb, *fingers)


LEFT_HAND, RIGHT_HAND = hand_joints("left"), hand_joints("right")


def _of_side(side: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


def _left_then_right(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts for side in SIDES)


LEFT_ARM, RIGHT_ARM = (_of_side(side, "shoulder", "elbow", "wrist") for side in SIDES)
LEFT_LEG, RIGHT_LEG = (_of_side(side, "hip", "knee", "ankle") for side in SIDES)

BLAZEPOSE_33 = (
    "nose",
    *_of_side("left", "eye_inner", "eye", "eye_outer"),
    *_of_side("right", "eye_inner", "eye", "eye_outer"),
    *_left_then_right("ear"),
    "mouth_left",
    "mouth_right",
    *_left_then_right("shoulder", "elbow", "wrist"),
    *_left_then_right("pinky", "index", "thumb"),  # the knuckles as the body model sees them, not the hand model's
    *_left_then_right("hip", "knee", "ankle", "heel", "foot_index"),
)
WORLD_33 = tuple(f"world_{joint}" for joint in BLAZEPOSE_33)
EYES_AND_EARS = ("right_eye", "left_eye", "right_ear", "left_ear")  # OpenPose's order: right first
OPENPOSE_18 = ("nose", "neck", *RIGHT_ARM, *LEFT_ARM, *RIGHT_LEG, *LEFT_LEG, *EYES_AND_EARS)
FEET = tuple(joint for side in SIDES for joint in _of_side(side, "big_toe", "small_toe", "heel"))
OPENPOSE_25 = ("nose", "neck", *RIGHT_ARM, *LEFT_ARM, "mid_hip", *RIGHT_LEG, *LEFT_LEG, *EYES_AND_EARS, *FEET)
COCO_17 = ("nose", *_left_then_right("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
STS_14 = tuple(joint for joint in OPENPOSE_18 if not joint.endswith(("knee", "ankle")))
REDUCED_8 = _left_then_right("shoulder", "elbow", "wrist", "hip")

FACE_68 = tuple(f"face_{i}" for i in range(68))
FACE_70 = (*FACE_68, "face_68", "face_69")

# --------------------------------------------------------------------------------------------------------------------
# The MediaPipe face mesh
# --------------------------------------------------------------------------------------------------------------------

MESH_POINTS, MESH_WITH_IRISES = 468, 478
# Points on the line of symmetry. The rest are numbered so that the n-th point below 248 off this line (signer's right)
# is the mirror image of point 248 + n (signer's left).
MESH_MIDLINE = (
    *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
    *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200),
)
# Right iris 468 centre, then +x, up, -x, down; left iris 473 likewise: +x and -x change places in the mirror.
IRIS_PAIRS = ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477))


def mesh_mirror() -> tuple[int, ...]:
    """`[478]` the mesh point whose place each mesh point takes in the mirror; an involution."""
    mirror = list(range(MESH_WITH_IRISES))
    right = [i for i in range(248) if i not in MESH_MIDLINE]
    for pair in (*zip(right, range(248, MESH_POINTS), strict=True), *IRIS_PAIRS):
        mirror[pair[0]], mirror[pair[1]] = pair[1], pair[0]
    return tuple(mirror)


MESH_MIRROR = mesh_mirror()

# Contours on the signer's right and in the middle, as chains of neighbours; the left ones are their mirror images.
_RIGHT_CHAINS = (
    (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),  # oval, crown to chin
    (33, 7, 163, 144, 145, 153, 154, 155, 133),  # lower lid
    (33, 246, 161, 160, 159, 158, 157, 173, 133),  # upper lid
    (46, 53, 52, 65, 55),  # brow, lower and upper edge
    (70, 63, 105, 66, 107),
    (61, 185, 40, 39, 37, 0),  # lips: outer upper and lower, inner upper and lower, corner to middle
    (61, 146, 91, 181, 84, 17),
    (78, 191, 80, 81, 82, 13),
    (78, 95, 88, 178, 87, 14),
)
MESH_CONTOURS = (*_RIGHT_CHAINS, *(tuple(MESH_MIRROR[i] for i in chain) for chain in _RIGHT_CHAINS))
MESH_EXTRA_CHAINS = (  # drawn where the layout has the points; not among the 128 contour points
    (168, 6, 197, 195, 5, 4, 1, 2),
    (98, 97, 2, 326, 327),
    (469, 470, 471, 472, 469),
    (474, 475, 476, 477, 474),
)
MESH_128 = tuple(sorted({i for chain in MESH_CONTOURS for i in chain}))

# iBUG point i lies near mesh point MESH_TO_IBUG[i]. The two differ by some millimetres (a tenth of the eye distance
# on average), most along the jaw, where iBUG follows the visible outline and the mesh follows the surface: this is
# good for drawing and coarse features only.
MESH_TO_IBUG = (
    *(162, 234, 93, 132, 172, 136, 149, 148, 152),  # jaw, right ear to chin
    *(377, 378, 365, 397, 361, 323, 454, 389),  # to left ear
    *(70, 63, 105, 66, 107),  # right brow, outer to inner
    *(336, 296, 334, 293, 300),  # left brow, inner to outer
    *(168, 197, 5, 4),  # ridge of the nose, down to the tip
    *(98, 97, 2, 326, 327),  # under the nose, right to left
    *(33, 160, 158, 133, 153, 144),  # right eye
    *(362, 385, 387, 263, 373, 380),  # left eye
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
)


def mesh_names(points: range | tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"face_mesh_{i}" for i in points)


# --------------------------------------------------------------------------------------------------------------------
# The 68-point face
# --------------------------------------------------------------------------------------------------------------------

_IBUG_SUMS = (  # (first, last, sum): within the range, mirrored points add up to the sum
    *((0, 16, 16), (17, 26, 43), (31, 35, 66), (36, 39, 81), (42, 45, 81), (40, 41, 87), (46, 47, 87)),
    *((48, 54, 102), (55, 59, 114), (60, 64, 124), (65, 67, 132), (68, 69, 137)),
)
IBUG_MIRROR = {i: total - i for first, last, total in _IBUG_SUMS for i in range(first, last + 1)}  # 27-30: the midline
IBUG_CHAINS = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    (*range(36, 42), 36),
    (*range(42, 48), 42),
    (*range(48, 60), 48),
    (*range(60, 68), 60),
)

# --------------------------------------------------------------------------------------------------------------------
# The layouts
# --------------------------------------------------------------------------------------------------------------------

HANDS = (*LEFT_HAND, *RIGHT_HAND)
_HOLISTIC = (*BLAZEPOSE_33, *mesh_names(range(MESH_POINTS)), *HANDS)
_HOLISTIC_REFINED = (*BLAZEPOSE_33, *mesh_names(range(MESH_WITH_IRISES)), *HANDS)

# Name -> (joints in file order, customary coordinates per joint).
LAYOUTS: dict[str, tuple[tuple[str, ...], int]] = {
    # MediaPipe holistic as pose_format writes it: body, face, left hand, right hand (Kaggle's tables are face first).
    "holistic_543": (_HOLISTIC, 3),
    "holistic_553": (_HOLISTIC_REFINED, 3),
    "holistic_576": ((*_HOLISTIC, *WORLD_33), 3),
    "holistic_586": ((*_HOLISTIC_REFINED, *WORLD_33), 3),
    # The same without legs, without the body model's guesses at face and hands, and with face contours only.
    "holistic_178": ((*REDUCED_8, *mesh_names(MESH_128), *HANDS), 3),
    "asl42": (HANDS, 2),
    # One hand, by convention a right one: what a left hand becomes when it is mirrored into it (see `select_hand`).
    "hand21": (RIGHT_HAND, 3),
    "openpose_137": ((*OPENPOSE_25, *FACE_70, *HANDS), 2),
    "coco_wholebody_133": ((*COCO_17, *FEET, *FACE_68, *HANDS), 2),
    # DWPose as its per-frame files name the arrays: body, face, left hand, right hand. (The `.skels` lines made from
    # them put the hands before the face; their reader reorders.)
    "dwpose_128": ((*OPENPOSE_18, *FACE_68, *HANDS), 2),
    # The 3-D layout of Progressive Transformers. Joints 2-4 and 29-49 are the signer's *left* arm and hand, 5-7 and
    # 8-28 the right ones, although the order descends from OpenPose, where 2-4 are the right arm: in the released
    # PHOENIX files joint 4 follows the left wrist that MediaPipe finds in the same video.
    # Files that keep OpenPose's sides are brought into this layout by its `mirror` permutation.
    "openpose50": (("nose", "neck", *LEFT_ARM, *RIGHT_ARM, *RIGHT_HAND, *LEFT_HAND), 3),
    "sts56": ((*STS_14, *HANDS), 2),
}

# --------------------------------------------------------------------------------------------------------------------
# Kinematic parents and bones, by name; a layout takes those that it has the joints for
# --------------------------------------------------------------------------------------------------------------------

# Joint -> its possible parents, best first. `{s}` is written out for both sides. None of them present: a root.
_PARENT_RULES = {
    "nose": ("neck",),
    "mid_hip": ("neck",),
    "mouth_{s}": ("nose",),
    "{s}_eye": ("nose",),
    "{s}_eye_inner": ("{s}_eye",),
    "{s}_eye_outer": ("{s}_eye",),
    "{s}_ear": ("{s}_eye",),
    "{s}_shoulder": ("neck", "nose"),
    "{s}_elbow": ("{s}_shoulder",),
    "{s}_wrist": ("{s}_elbow",),
    "{s}_pinky": ("{s}_wrist",),
    "{s}_index": ("{s}_wrist",),
    "{s}_thumb": ("{s}_wrist",),
    "{s}_hip": ("mid_hip", "neck", "{s}_shoulder"),
    "{s}_knee": ("{s}_hip",),
    "{s}_ankle": ("{s}_knee",),
    "{s}_heel": ("{s}_ankle",),
    "{s}_foot_index": ("{s}_ankle",),
    "{s}_big_toe": ("{s}_ankle",),
    "{s}_small_toe": ("{s}_big_toe",),
    "{s}_hand_wrist": ("{s}_wrist",),
}


def _finger_chains(side: str) -> tuple[tuple[str, ...], ...]:
    """The five fingers from the wrist to the tip, 5 joints each."""
    hand = hand_joints(side)
    return tuple((hand[0], *hand[first : first + 4]) for first in range(1, 21, 4))


def _parent_choices() -> dict[str, tuple[str, ...]]:
    choices = {}
    for joint, parents in _PARENT_RULES.items():
        for side in SIDES:
            choices[joint.format(s=side)] = tuple(parent.format(s=side) for parent in parents)
    choices |= {f"world_{joint}": tuple(f"world_{p}" for p in parents) for joint, parents in choices.items()}
    for side in SIDES:
        for chain in _finger_chains(side):
            choices |= {child: (parent,) for parent, child in pairwise(chain)}
    # The face moves as one: a star around the tip of the nose (or the upper lip where the layout has no nose).
    choices |= {f"face_{i}": ("face_30",) for i in range(70)}
    choices |= {f"face_mesh_{i}": ("face_mesh_1", "face_mesh_0") for i in range(MESH_WITH_IRISES)}
    choices |= {"face_30": ("nose",), "face_mesh_1": ("nose",)}
    choices["face_mesh_0"] = ("face_mesh_1",)
    return choices


PARENT_CHOICES = _parent_choices()


def _side_bones(side: str) -> tuple[tuple[str, str], ...]:
    limbs = (
        ("shoulder", "elbow", "wrist", "hand_wrist"),
        ("hip", "knee", "ankle", "heel", "foot_index", "ankle"),
        ("ankle", "big_toe", "small_toe"),
    )
    chains = (*(_of_side(side, *limb) for limb in limbs), *_finger_chains(side))
    return tuple(bone for chain in chains for bone in pairwise(chain))


# Bones of every layout that has both ends. The trunk and the head depend on whether there are a neck and inner eyes.
BONES = (*_side_bones("left"), *_side_bones("right"), ("mouth_left", "mouth_right"))
NECK_BONES = (("neck", "nose"), ("neck", "left_shoulder"), ("neck", "right_shoulder"))
MID_HIP_BONES = (("neck", "mid_hip"), ("mid_hip", "left_hip"), ("mid_hip", "right_hip"))
NECK_HIP_BONES = (("neck", "left_hip"), ("neck", "right_hip"))
TRUNK_BONES = (
    *(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *(("left_shoulder", "left_hip"), ("right_shoulder", "right_hip")),
)
EYE_BONES = tuple(bone for side in SIDES for bone in pairwise(("nose", f"{side}_eye", f"{side}_ear")))
LID_BONES = tuple(
    bone
    for side in SIDES
    for bone in pairwise(("nose", f"{side}_eye_inner", f"{side}_eye", f"{side}_eye_outer", f"{side}_ear"))
)
FACE_BONES = (
    *(bone for chain in (*MESH_CONTOURS, *MESH_EXTRA_CHAINS) for bone in pairwise(mesh_names(chain))),
    *(bone for chain in IBUG_CHAINS for bone in pairwise(f"face_{i}" for i in chain)),
)

# --------------------------------------------------------------------------------------------------------------------
# What can stand in for a joint that a layout lacks: alternatives, best first, each one joint or the two to average
# --------------------------------------------------------------------------------------------------------------------

STAND_INS: dict[str, tuple[tuple[str, ...], ...]] = {
    "neck": (("left_shoulder", "right_shoulder"),),
    "mid_hip": (("left_hip", "right_hip"),),
    **{f"{side}_wrist": ((f"{side}_hand_wrist",),) for side in SIDES},
    **{f"{side}_hand_wrist": ((f"{side}_wrist",),) for side in SIDES},
    # MediaPipe has one point at the toes: both toes of OpenPose and COCO are put there.
    **{f"{side}_{toe}_toe": ((f"{side}_foot_index",),) for side in SIDES for toe in ("big", "small")},
    **{f"face_{i}": ((f"face_mesh_{point}",),) for i, point in enumerate(MESH_TO_IBUG)},
    # Pupils: the iris, or the middle between the corners of the eye.
    "face_68": (("face_mesh_468",), ("face_mesh_33", "face_mesh_133"), ("face_36", "face_39")),
    "face_69": (("face_mesh_473",), ("face_mesh_263", "face_mesh_362"), ("face_42", "face_45")),
}
