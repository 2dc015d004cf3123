"""What every test needs: the project's own Node.js for the CDK, whoever starts pytest."""

import os
import sys
from pathlib import Path

# Before anything imports aws_cdk, which starts `node` from the PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
