"""deploy/aws, read: resources and policy documents, without what evaluating them takes."""

import fnmatch
import pathlib
import re

import hcl2

ROOT = pathlib.Path(__file__).resolve().parents[2]


def plain(value):
    """What was parsed, without the quotes of strings and the parser's own marks."""
    if isinstance(value, dict):
        return {plain(key): plain(of) for key, of in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(of) for of in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def blocks(kind):
    """All blocks of a kind, as {(type, name): body}."""
    found = {}
    for path in sorted((ROOT / "deploy" / "aws").glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            for block in plain(hcl2.load(file)).get(kind, []):
                for of, named in block.items():
                    found.update({(of, name): body for name, body in named.items()})
    return found


def local(name):
    for path in sorted((ROOT / "deploy" / "aws").glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            for block in plain(hcl2.load(file)).get("locals", []):
                if name in block:
                    return block[name]
    raise KeyError(name)


def variable(name):
    with (ROOT / "deploy" / "aws" / "variables.tf").open(encoding="utf-8") as file:
        (found,) = [block[name] for block in plain(hcl2.load(file))["variable"] if name in block]
        return found


def actions(statement):
    """Of a statement; what it takes from locals by name is looked up."""
    given = statement.get("actions", [])
    if isinstance(given, str):
        return [action for name in re.findall(r"local\.(\w+)", given) for action in local(name)]
    return given


def statements(document):
    """Of a policy document, those too that are there where somebody is named for them: under the name of who that is."""
    of_nobody = [statement for block in document.get("dynamic", []) for statement in block["statement"]["content"]]
    return document["statement"] + of_nobody


def is_deny(statement):
    return statement.get("effect", "Allow") == "Deny"


def covers(granted, action):
    """Whether what a policy writes, wildcards too, means this action."""
    return any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in granted)
