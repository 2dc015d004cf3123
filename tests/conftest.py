"""What every test needs: the project's own Node.js for the CDK, and Hypothesis's profiles."""

import os
import sys
from pathlib import Path

from hypothesis import settings

# Before anything imports aws_cdk, which starts `node` from the PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

# CI tries the same examples each time, so that a change is judged by what it changes; everyone
# else looks for new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
