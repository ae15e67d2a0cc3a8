"""What holds the parts together: one way of imports, a light package, no unsafe loading, files of readable length."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import signllm

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "signllm"

# From the lowest to the highest. A package may import itself and every layer below it.
LAYERS = (
    {"models"},
    {"data", "transport", "top-level helpers"},
    {"analysis", "metrics", "visualization"},
    {"training"},
    {"cli", "demo"},
)
RUNTIME_OF_MODELS = {"torch", "numpy", "transformers"}
UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "pandas.read_pickle", "numpy.lib.format.read_array"}
UNSAFE_PICKLE_NAMES = {"load", "loads", "Unpickler"}
HEAVY = {
    "torch",
    "transformers",
    "numba",
    "scipy",
    "numpy",
    "pandas",
    "pyarrow",
    "pose_format",
    "matplotlib",
    "datasets",
}
LONGEST_FILE = 500


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def package_of(path: Path) -> str:
    """The part of the package that a file of it belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    if first.endswith(".py"):
        first = first.removesuffix(".py")
        return first if first in ("cli", "demo", "__init__") else "top-level helpers"
    return first


def part_of(module: str) -> str | None:
    """The part that `signllm.x.y` belongs to; None for the package's own lazy names."""
    parts = module.split(".")
    if len(parts) == 1 or not ((SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").is_file()):
        return None
    return parts[1] if (SOURCE / parts[1]).is_dir() else package_of(SOURCE / f"{parts[1]}.py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute module name of every import, wherever it stands; lazy ones by name included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ("signllm", *path.relative_to(SOURCE).parts[: -node.level])
                base = ".".join((*package, *filter(None, [node.module])))
            yield node.lineno, base
            # `from signllm import data` is an import of signllm.data.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"signllm(\.[a-z_]+)+", str(node.value)):
            yield node.lineno, node.value  # the table of a lazy package


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_every_part_has_its_layer():
    parts = {package_of(path) for path in sources(SOURCE)} - {"__init__"}
    assert parts <= set().union(*LAYERS), "give the new part a layer here and in the design"


def test_imports_point_one_way():
    height = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    wrong = []
    for path in sources(SOURCE):
        importer = package_of(path)
        if importer == "__init__":
            continue  # it names its lazy members; what it loads at once is tested below
        for line, module in imported(path):
            target = part_of(module) if module.split(".")[0] == "signllm" else None
            if target is not None and height[target] > height[importer]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong


def test_parts_of_one_layer_do_not_need_each_other():
    needs: dict[str, set[str]] = {}
    for path in sources(SOURCE):
        targets = {part_of(module) for _, module in imported(path) if module.split(".")[0] == "signllm"}
        needs.setdefault(package_of(path), set()).update(targets - {None, package_of(path)})
    del needs["__init__"]
    # `auto` joins the readers to the models, so it is above data; every other helper is below it.
    needs["top-level helpers"].discard("data")
    TopologicalSorter(needs).prepare()  # a circle raises


def test_models_run_alone():
    """A repository with remote code holds these files, flattened, and nothing else of the package."""
    wrong = []
    for path in sources(SOURCE / "models"):
        assert path.parent == SOURCE / "models", f"{path}: models/ is flat"
        for node in ast.walk(tree_of(path)):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.level:
                sibling = node.module and (path.parent / f"{node.module}.py").is_file()
                if node.level != 1 or not sibling:
                    wrong.append(f"{where} must be `from .sibling import name`")
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                if module.split(".")[0] not in RUNTIME_OF_MODELS | sys.stdlib_module_names:
                    wrong.append(f"{where} imports {module}")
    assert not wrong


def test_scripts_do_not_import_the_command_line():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(ROOT / "training")
        for line, module in imported_by_script(path)
        if part_of(module) in ("cli", "demo")
    ]
    assert not wrong


def imported_by_script(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("signllm"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("signllm"):
            yield from ((node.lineno, name) for name in (node.module, *(f"signllm.{a.name}" for a in node.names)))


# ---- what importing costs, and what it offers -----------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["import signllm", "import signllm.data, signllm.models", "import signllm.cli"])
def test_importing_is_light(statement):
    code = f"{statement}; import json, sys; print(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


def test_help_is_light():
    code = (
        "import sys; sys.argv = ['signllm', 'tokenize', '--help']\n"
        "from signllm.cli import app\n"
        "try: app()\n"
        f"except SystemExit as end: print('LOADED', sorted({HEAVY!r} & set(sys.modules)), end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "LOADED [] 0"


@pytest.mark.parametrize("name", signllm.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert (getattr(signllm, name).__doc__ or "").strip()
    assert name in dir(signllm)


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(AttributeError, match=r"no attribute 'SignVQ'; it has .*SignVQModel"):
        signllm.SignVQ  # noqa: B018


def test_torch_is_the_pinned_build_without_cuda():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: a CUDA build is right here")
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch.__version__ in (f"{pinned}+cpu", pinned), "a dependency has replaced torch: see the Makefile"
    assert torch.version.cuda is None, "a dependency has pulled in a CUDA build of torch: see the Makefile"


# ---- what the files hold --------------------------------------------------------------------------------------------


def unsafe_loads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Whatever can run code that a file brings along."""
    aliases: dict[str, str] = {}
    safe = {"allow_pickle": "False", "weights_only": "True"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases.update({alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            aliases.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            head, *rest = ast.unparse(node).split(".")
            name = ".".join((aliases.get(head, head), *rest))
            module, _, member = name.rpartition(".")
            if name in UNSAFE_CALLS or (module in UNSAFE_MODULES and member in UNSAFE_PICKLE_NAMES):
                yield node.lineno, name
        elif isinstance(node, ast.keyword) and node.arg in safe and ast.unparse(node.value) != safe[node.arg]:
            yield node.value.lineno, f"{node.arg}={ast.unparse(node.value)}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle\npickle.load(f)", True),
        ("import pickle as p\np.loads(b)", True),
        ("from pickle import loads as l\nl(b)", True),
        ("import pickle\nclass U(pickle.Unpickler): pass", True),
        ("import torch\ntorch.load('x', weights_only=True)", True),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", True),
        ("import numpy as np\nnp.load('x', **k)\nnp.load('x', allow_pickle=False)", False),
        ("import pickle\ntry: safe_loads(b)\nexcept pickle.UnpicklingError: pass", False),
        ("import json\njson.load(f)", False),
    ],
)
def test_the_search_for_unsafe_loading_finds_it(code, found):
    assert bool(list(unsafe_loads(ast.parse(code)))) == found


def test_nothing_is_unpickled_but_by_the_allow_list():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} uses {what}"
        for path in sources(ROOT / "src", ROOT / "training")
        if path != SOURCE / "data" / "safe_pickle.py"
        for line, what in unsafe_loads(tree_of(path))
    ]
    assert not wrong


def test_files_are_short_enough_to_read():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (ROOT / "src", ROOT / "training")
        for path in folder.rglob("*")
        if path.suffix in (".py", ".js", ".css", ".html", ".md", ".yaml", ".json") and ".egg-info" not in str(path)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_file_names_a_place_on_somebody_s_machine():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    place = re.compile(rb"(?<![\w.-])/(?:work|root|home|Users)/")
    wrong = []
    for name in filter(None, listed.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            lines = path.read_bytes().splitlines()
            wrong += [f"{name}:{number}" for number, line in enumerate(lines, start=1) if place.search(line)]
    assert not wrong
