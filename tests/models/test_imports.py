"""What importing this part loads: scoring and ranking must not wait for, nor break with, torchvision or timm."""

import subprocess
import sys


def test_the_libraries_of_models_load_with_the_first_model_of_theirs() -> None:
    names = ["loading", "student", "torchvision", "timm", "python", "file", "features"]
    script = "\n".join(f"import zoo_cli.models.{name}" for name in names)
    script += "\nimport sys; print([m for m in ('torchvision', 'timm') if m in sys.modules], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True"
