"""docker-compose.yml, read: what its services would be started with."""

import re

import native
import yaml

COMPOSE = yaml.safe_load(native.text("docker-compose.yml"))
SERVICES = COMPOSE["services"]


def dockerfile(service):
    build = SERVICES[service]["build"]
    return build.get("dockerfile", "Dockerfile") if isinstance(build, dict) else "Dockerfile"


def bases(path):
    """The images that a Dockerfile starts from, those of its own stages left out."""
    found = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", native.text(path), re.MULTILINE)
    stages = {stage for _, stage in found}
    return [image for image, _ in found if image not in stages]


def tag(service):
    return SERVICES[service]["image"].rpartition(":")[2]


def mounts(service):
    """Target to source of the files and directories of this repository that a service is given."""
    parts = (mount.split(":") for mount in SERVICES[service].get("volumes", []))
    return {part[1]: part[0] for part in parts if part[0].startswith("./")}


def ends_by_itself(service):
    conditions = [other.get("depends_on", {}).get(service, {}).get("condition") for other in SERVICES.values()]
    return "service_completed_successfully" in conditions


def broker_settings():
    """Of the image's variables, each of which is a property of the broker."""
    variables = SERVICES["kafka"]["environment"].items()
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in variables if name != "KAFKA_HEAP_OPTS"}


def postgres_settings():
    words = SERVICES["postgres"]["command"]
    if words[1::2] != ["-c"] * len(words[2::2]):
        raise ValueError(f"other words than settings: {words}")
    return dict(word.split("=", 1) for word in words[2::2])


def java_options(service):
    """What its image hands to Java."""
    variables = SERVICES[service]["environment"]
    return set((variables.get("KAFKA_HEAP_OPTS") or variables["JAVA_OPTIONS"]).split())
