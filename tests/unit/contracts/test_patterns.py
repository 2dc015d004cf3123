r"""``pattern`` finds the same strings as in JavaScript, or is refused when it is loaded."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.patterns import PatternError, to_python
from tests.unit.contracts.test_contracts import error_of, field
from tests.unit.parser.examples import contract, parse_reading

# Each pattern with each string, as flag "u" sees them; null: JavaScript refuses the pattern.
_JAVASCRIPT = """
const {patterns, strings} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = patterns.map(pattern => {
  let compiled;
  try { compiled = new RegExp(pattern, "u"); } catch (error) { return null; }
  return strings.map(string => compiled.test(string) ? "1" : "0").join("");
});
console.log(JSON.stringify(found));
"""

# What JavaScript takes and the translation refuses; nothing else may be.
_ONLY_JAVASCRIPT = re.compile(
    r"""\\[1-9k] | \\[pP]\{ | \(\?[ims-] | \(\?<[=!] | \(\?<\w+>.*\(\?<\w+> | \d{10}""",
    re.VERBOSE | re.DOTALL,
)

_ATOMS = [
    *("a", "b", "Z", "0", "7", "_", "-", " ", "/", "é", "\u0661", "\U0001f600", "\u2028", "\xa0"),
    *(".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\n", r"\t", r"\v", r"\0", r"\cJ", r"\x41"),
    *(r"\.", r"\$", r"\/", r"\-", r"\u0041", r"\u{1F600}", r"\ud83d\ude00", r"\u{d83d}", r"\e"),
    *("[a-c]", "[^a-c]", r"[\w-]", r"[^\s\d]", r"[\D]", "[]", "[^]", r"[\b]", "[a-]", "[-a]"),
    *(r"[\]\\]", "[^^]", "[a^]", "[.]", "[é-ü]", r"[\u{1F600}-\u{1F64F}]", "[b-a]", "[&&b]"),
    *("[[a]", r"[\d-z]", r"[\B]", "]", "}", "{", "{2}", "(?P<x>a)", "(?i)", "(?i:a)", "(?#a)"),
    *(r"\A", r"\Z", r"\z", r"\p{L}", r"\1", r"\k<x>", "(?>a)", "(?<x>a)", r"\a", r"\x4", r"\u00"),
]
_ASSERTIONS = ["^", "$", r"\b", r"\B", "(?=a)", "(?!a)", "(?<=a)", "(?<!b)", "(?<=a|b)", "(?<=a+)"]
_QUANTIFIERS = ["*", "+", "?", "{2}", "{0,1}", "{1,}", "{,2}", "{2,1}", "{0}", "*?", "+?", "??"]
_POSSESSIVE = ["++", "*+", "?+", "{2}+"]
_CHARACTERS = [
    *("a", "b", "c", "A", "Z", "0", "7", "_", "-", " ", "\n", "\r", "\t", "\v", "\x1c", "\x85"),
    *("\0", "\b", "\xa0", "\u0661", "\u2028", "\u2029", "\u3000", "\ufeff", "\u180e", "é", "ï"),
    *("\U0001f600", "\U0001f64f", "\U0010ffff", "\u017f", "\u212a", "^", "$", "]", "[", "\\", "&"),
]
_CASES = [
    *("^[A-Z]{3}$", r"^\d+$", r"^\w+$", r"^\s$", r"\bab\b", "^.$", "a|", "|", "", "()", "(?:)*"),
    *("(?:a?)*b", "(a*)*b", "(a|b)*?b$", "(?:a|(?=b))*b", "(?:(?=a)|b){2}a", "(?:a?){3}$"),
    *("(?<=^a)b", "(?<!^)a", "(?<=(?=b).)a", r"(?<=\b)a", "(?<=(?<=a)b)c", "(?=(?!a)b)b", "(", ")"),
    *("[", "(?", "(?<", "\\", "a{1", "x{99999999999}", "(?<x>a)|(?<x>b)", "(?<x>a)(?<y>b)"),
    *(
        "^(?:[01]\\d|2[0-3]):[0-5]\\d$",
        "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$",
        "^v?\\d+(\\.\\d+){2}$",
    ),
]


def _generated(source: random.Random) -> str:
    """A pattern of a few terms, groups and alternatives; many are not valid."""

    def term(depth: int) -> str:
        kind = source.random()
        if kind < 0.15:
            return source.choice(_ASSERTIONS)
        if kind < 0.3 and depth < 3:
            opening = source.choice(["(", "(?:", "(?=", "(?!", "(?<n>", "(?<=", "(?<!"])
            made = f"{opening}{alternatives(depth + 1)})"
        else:
            # The first half of the atoms are valid.
            made = source.choice(_ATOMS[:27] if source.random() < 0.8 else _ATOMS)
        if source.random() < 0.3:
            made += source.choice(_QUANTIFIERS)
        elif source.random() < 0.02:
            made += source.choice(_POSSESSIVE)
        return made

    def alternatives(depth: int) -> str:
        return "|".join(
            "".join(term(depth) for _ in range(source.randrange(4)))
            for _ in range(source.choice([1, 1, 1, 2, 3]))
        )

    return alternatives(0)


def _in_javascript(patterns: list[str], strings: list[str]) -> list[str | None]:
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, "-e", _JAVASCRIPT],
        input=json.dumps({"patterns": patterns, "strings": strings}),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[str | None] = json.loads(done.stdout)
    return found


def _in_python(pattern: str, strings: list[str]) -> str | None:
    try:
        compiled = re.compile(to_python(pattern))
    except PatternError:
        return None
    return "".join("1" if compiled.search(string) else "0" for string in strings)


def test_every_pattern_finds_the_same_strings_as_in_javascript_or_is_refused() -> None:
    source = random.Random(28)  # noqa: S311  # not secret
    strings = ["", *_CHARACTERS, "ABC", "ABC\n", "aab", "1.2.3", "00:5e:00:53:01:aA", "23:59"]
    strings += ["".join(source.choices(_CHARACTERS, k=source.randrange(2, 6))) for _ in range(60)]
    strings += ["".join(source.choices("ab0 ", k=source.randrange(2, 6))) for _ in range(40)]
    patterns = [*_CASES, *_ATOMS, *_ASSERTIONS]
    patterns += [atom + times for atom in ("a", "(a|b)", *_ASSERTIONS) for times in _QUANTIFIERS]
    patterns += [atom + times for atom in ("a", "(a|b)") for times in _POSSESSIVE]
    patterns += [_generated(source) for _ in range(4000)]
    in_javascript = _in_javascript(patterns, strings)
    taken = 0
    for pattern, expected in zip(patterns, in_javascript, strict=True):
        found = _in_python(pattern, strings)
        if found is None and expected is not None:
            assert _ONLY_JAVASCRIPT.search(pattern), f"{pattern!r} is refused without need"
        else:
            assert found == expected, f"{pattern!r} differs"
            taken += found is not None
    assert taken > 1000


def test_each_character_is_of_the_same_classes_as_in_javascript() -> None:
    strings = [chr(code) for code in range(0x11000) if not 0xD800 <= code <= 0xDFFF]
    patterns = [f"^{name}$" for name in (".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"[^\S]")]
    for pattern, expected in zip(patterns, _in_javascript(patterns, strings), strict=True):
        assert _in_python(pattern, strings) == expected, pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(?P<x>a)", "after '(?' one of : = ! <= <! <name>"),
        ("(?i)a", "after '(?' one of : = ! <= <! <name>"),
        ("(?>a)", "after '(?' one of : = ! <= <! <name>"),
        (r"\Aa", "after a backslash one of "),
        (r"a\Z", "after a backslash one of "),
        (r"(a)\1", "after a backslash one of "),
        (r"\p{L}", "after a backslash one of "),
        (r"a\-b", "after a backslash one of "),
        ("a++", "something to repeat"),
        ("^*", "something to repeat"),
        ("a{,2}", "a backslash before a bracket that stands for itself"),
        ("(?<=a+)b", "lookbehind of one width"),
        ("(a", "')'"),
        ("a)", "'(' before ')'"),
        ("[a", "']'"),
        ("a{3,2}", "a count of at least 3 as the second"),
        ("a{99999999999}", "a pattern that Python can match"),
    ],
)
def test_a_pattern_without_an_equal_is_refused_by_its_path_with_what_is_allowed(
    pattern: str, expected: str
) -> None:
    message = error_of(field({"type": "string", "pattern": pattern}))
    assert message.startswith(f"$.properties.field.pattern: expected {expected}"), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[A-Z]{3}$", "ABC", "ABC\n"),
        (r"^\d+$", "12", "\u0661\u0662"),
        (r"^\w+$", "a_1", "é"),
        (r"^\s$", "\ufeff", "\x1c"),
        (r"\bC$", "éC", "aC"),
        ("^.$", "\x85", "\u2028"),
    ],
)
def test_the_parser_and_the_device_match_as_javascript_does(
    pattern: str, good: str, bad: str
) -> None:
    of = contract(["v"], v={"type": "string", "pattern": pattern})
    assert parse_reading({"v": good}, of).column("v") == [good]
    refused: Any = parse_reading({"v": bad}, of)
    assert refused.reasons == [("$.v", f"expected string matching regex {pattern!r}")]
