"""deploy/aws, read: resources and policy documents, without what evaluating them takes. What a module of it makes is read as it is called: under the name of the call, with
what it is given in the place of its variables."""

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


def files(module):
    """What is written in the files of a module: of deploy/aws itself, or of one in it."""
    for path in sorted((ROOT / "deploy" / "aws" / module).glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            yield plain(hcl2.load(file))


def blocks(kind, module=""):
    """All blocks of a kind that have a type, as {(type, name): body}."""
    found = {}
    for text in files(module):
        for block in text.get(kind, []):
            for of, named in block.items():
                found.update({(of, name): body for name, body in named.items()})
    return found


def modules():
    """The calls of modules, as {name: arguments}."""
    return {name: body for text in files("") for block in text.get("module", []) for name, body in block.items()}


class Call:
    """A module, as it is called."""

    def __init__(self, name, arguments):
        self.name, self.arguments = name, arguments
        self.module = arguments["source"].removeprefix("./")
        variables = {variable: body for text in files(self.module) for block in text.get("variable", []) for variable, body in block.items()}
        self.given = {variable: arguments[variable] if variable in arguments else body["default"] for variable, body in variables.items()}

    def blocks(self, kind):
        """As of the caller: what is called `locked` in the module has the name of the call."""
        return {(of, self.named(name)): self.put_in(body) for (of, name), body in blocks(kind, self.module).items()}

    def named(self, name):
        return self.name if name == "locked" else name

    def put_in(self, value):
        """With what is given for variables, and blocks that are there on a condition as it says."""
        if isinstance(value, list):
            return [self.put_in(of) for of in value]
        if isinstance(value, dict):
            here = {key: self.put_in(of) for key, of in value.items() if key != "dynamic"}
            for kind, content in (one for block in value.get("dynamic", []) for one in self.there(block)):
                here[kind] = [*here.get(kind, []), *content]
            return here
        return self.of_text(value) if isinstance(value, str) else value

    def there(self, block):
        """Of a dynamic block that is there where a list of names is not empty: what it makes."""
        ((kind, body),) = block.items()
        (variable,) = re.fullmatch(r"\$\{length\(var\.(\w+)\) > 0 \? \[var\.\1\] : \[\]\}", body["for_each"]).groups()
        if self.given[variable]:
            (content,) = body["content"]
            value = f"${{{kind}.value}}"
            yield kind, [{key: self.given[variable] if of == value else self.put_in(of) for key, of in content.items()}]

    def of_text(self, text):
        whole = re.fullmatch(r"\$\{var\.(\w+)\}", text)
        if whole:
            return self.given[whole[1]]
        text = re.sub(r"var\.(\w+)", lambda found: expression(self.given[found[1]]), text)
        text = re.sub(r"\baws_s3_bucket\.locked\b", f"module.{self.name}", text)
        return re.sub(r"\.locked\b", f".{self.name}", text)


def expression(value):
    """What is given, within another expression."""
    return value.removeprefix("${").removesuffix("}") if isinstance(value, str) else str(value)


CALLS = {name: Call(name, arguments) for name, arguments in modules().items()}


def resources():
    """All that is made, by deploy/aws itself and by the modules that it calls."""
    found = blocks("resource")
    for call in CALLS.values():
        made = call.blocks("resource")
        assert not made.keys() & found.keys(), "two of one name"
        found.update(made)
    return found


def documents():
    """Policy documents by their names. One of a module has the statements too of those that it is given."""
    found = {name: body for (kind, name), body in blocks("data").items() if kind == "aws_iam_policy_document"}
    for call in CALLS.values():
        for (kind, name), body in call.blocks("data").items():
            assert kind == "aws_iam_policy_document" and name not in found
            of = [found[re.fullmatch(r"\$\{data\.aws_iam_policy_document\.(\w+)\.json\}", given)[1]] for given in body.pop("source_policy_documents")]
            more = {key: [one for document in of for one in document.get(key, [])] for key in ("statement", "dynamic")}
            found[name] = {"statement": body["statement"] + more["statement"], "dynamic": more["dynamic"]}
    return found


def local(name):
    (found,) = [block[name] for text in files("") for block in text.get("locals", []) if name in block]
    return found


def variable(name):
    (found,) = [block[name] for text in files("") for block in text.get("variable", []) if name in block]
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
