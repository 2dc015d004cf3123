"""Would AWS IoT's policies allow it? For endpoints that lack ``TestAuthorization``.

Knows what our device policies use: ``Allow`` and ``Deny``, policy variables, the wildcards ``*``
and ``?``, and the conditions ``Bool``, ``StringEquals`` and ``StringLike``. A statement with any
other condition never matches if it allows and always matches if it denies: the answer is rather
a wrong "no", which a person looks into, than a wrong "yes".

See https://docs.aws.amazon.com/iot/latest/developerguide/iot-policies.html
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_VARIABLE = re.compile(r"\$\{(iot:[A-Za-z.]+)\}")


def variables(client_id: str, attached_things: Iterable[str]) -> dict[str, str]:
    """The policy variables of a connection whose certificate is attached to these things.

    The thing's variables are there when the client id is the name of one of them.
    """
    attached = client_id in attached_things
    found = {
        "iot:ClientId": client_id,
        "iot:Connection.Thing.IsAttached": str(attached).lower(),
    }
    if attached:
        found["iot:Connection.Thing.ThingName"] = client_id
    return found


def allows(
    documents: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    values: Mapping[str, str],
) -> bool:
    """Whether the policies together allow it: some statement does, and none denies it.

    Args:
        documents: Policy documents.
        action: Such as ``iot:Publish``.
        resource: ARN of a client or topic.
        values: Of the policy variables.
    """
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _listed(document["Statement"])
        if any(_matches(pattern, action, {}) for pattern in _listed(statement["Action"]))
        and any(_matches(pattern, resource, values) for pattern in _listed(statement["Resource"]))
        and _holds(statement, values)
    }
    return effects == {"Allow"}


def _holds(statement: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    for operator, conditions in statement.get("Condition", {}).items():
        for key, expected in conditions.items():
            value = values.get(key)
            if operator == "Bool":
                held = value in [str(text).lower() for text in _listed(expected)]
            elif operator == "StringEquals":
                held = value in [_filled(text, values) for text in _listed(expected)]
            elif operator == "StringLike":
                held = value is not None and any(
                    _matches(pattern, value, values) for pattern in _listed(expected)
                )
            else:
                held = statement["Effect"] == "Deny"
            if not held:
                return False
    return True


def _filled(text: str, values: Mapping[str, str]) -> str | None:
    """``text`` with its variables filled in; None if one of them has no value."""
    if any(name not in values for name in _VARIABLE.findall(text)):
        return None
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def _matches(pattern: str, text: str, values: Mapping[str, str]) -> bool:
    """Whether ``text`` fits; a wildcard in a variable's value is an ordinary character."""
    if any(name not in values for name in _VARIABLE.findall(pattern)):
        return False
    parts = re.split(r"(\$\{iot:[A-Za-z.]+\}|[*?])", pattern)
    wildcards = {"*": ".*", "?": "."}
    expression = "".join(
        wildcards.get(part) or re.escape(_VARIABLE.sub(lambda found: values[found[1]], part))
        for part in parts
    )
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
