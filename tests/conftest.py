"""What every test may rely on: no network, few threads, and the real recordings where they exist."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings: `$SIGNLLM_REAL_DATA`, by default `../shared/data` beside the repository."""
    folder = Path(os.environ.get("SIGNLLM_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set SIGNLLM_REAL_DATA to a folder that has them")
    return folder
