"""Peak memory, measured in a process of its own."""

import json
import subprocess
import sys

import pytest

_MIB = 1024 * 1024
_MOST_MIB = 512

# Prints the peak in MiB, and the counts. VmHWM, as ru_maxrss begins with the parent's.
_RUN = """
import gzip, itertools, json, random, re, sys, tempfile
from pathlib import Path
import contracts
from telemetry_parser.parser import Parser
from tests.unit.parser.examples import GOOD, TELEMETRY, contract, line

random.seed(1)
packed, raw_bytes, text_bytes = map(int, sys.argv[1:4])
of = contract(text={"type": "string"}) if text_bytes else TELEMETRY

def reading():
    if text_bytes:
        return {"text": random.randbytes(text_bytes // 2).hex()}
    return GOOD | {
        "timestamp": random.randrange(1_600_000_000_000, 1_800_000_000_000),
        "temperature": random.uniform(-90, 90),
        "pressure": random.uniform(300, 1200),
        "sequence": random.getrandbits(40),
    }

def message(number):
    topic = f"dt/dev/thing-{number}/{of.channel}"
    if not packed:
        return line(reading(), topic=topic)
    readings = [reading() for _ in range(packed // 100)] * 100
    return line(gzip.compress(json.dumps(readings).encode(), 1), topic=topic)

lines = [message(number) for number in range(200 if not packed else 20)]
bad = [b"bad" * 50, line(b"[" + b"1," * 2000 + b"1]")]
block = b"\\n".join(lines * (1 if packed or text_bytes else 50) + bad) + b"\\n"
member = gzip.compress(block, 1)
folder = Path(tempfile.mkdtemp(dir=sys.argv[4]))
with (folder / "raw").open("wb") as file:
    for _ in range(-(-raw_bytes // len(block))):
        file.write(member)
with (folder / "raw").open("rb") as raw:
    result = Parser(of).parse(
        raw, raw_key="k", parquet_path=folder / "p", rejected_path=folder / "r"
    )
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([int(peak[1]) // 1024, result.raw_bytes, result.payload_bytes]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("packed", "raw_mib", "expanded_mib", "text_bytes"),
    [
        pytest.param(0, 128, 0, 0, id="128 MiB of single readings"),
        pytest.param(4000, 12, 120, 0, id="packed readings that expand to ten times as much"),
        pytest.param(0, 128, 0, 90_000, id="128 MiB of readings of 90 kB"),
    ],
)
def test_memory_stays_within_512_mib(
    packed: int, raw_mib: int, expanded_mib: int, text_bytes: int, tmp_path: object
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, (packed, raw_mib * _MIB, text_bytes, tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak_mib, raw_bytes, payload_bytes = json.loads(done.stdout)
    assert raw_bytes >= raw_mib * _MIB
    assert payload_bytes >= expanded_mib * _MIB
    assert peak_mib <= _MOST_MIB
