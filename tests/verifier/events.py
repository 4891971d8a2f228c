"""Audit events, times and the partition of a tenant (docs/FORMAT.md sections 1 and 3)."""

import re

import canonical

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)


def days_in_month(year, month):
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and leap else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def days_before_year(year):
    """Days of the years 0 to `year` - 1; year 0 is a leap year."""
    return 365 * year + (year + 3) // 4 - (year + 99) // 100 + (year + 399) // 400


def instant(text):
    """Nanoseconds since year 0 in UTC of a time by the rule of `occurred_at`, or None. Only good for comparing."""
    match = TIME.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    fraction, sign, offset_hour, offset_minute = match.groups()[6:]
    if (
        not 1 <= month <= 12
        or not 1 <= day <= days_in_month(year, month)
        or hour > 23
        or minute > 59
        or second > 60
    ):
        return None
    offset = 0
    if sign:
        if int(offset_hour) > 23 or int(offset_minute) > 59:
            return None
        offset = (int(offset_hour) * 60 + int(offset_minute)) * (1 if sign == "+" else -1)
    minutes = hour * 60 + minute - offset
    if second == 60 and minutes % 1440 != 1439:
        return None
    days = days_before_year(year) + sum(days_in_month(year, m) for m in range(1, month)) + day
    return ((days * 1440 + minutes) * 60 + second) * 10**9 + int((fraction or "0").ljust(9, "0"))


def check_label(value):
    """`event_id`, `action`, `actor.type`, `actor.id`: 1 to 256 bytes of UTF-8, no control characters."""
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= 256 or CONTROL.search(value):
        raise canonical.Refused("wrong_member")


def check_event(event):
    """Section 1. Raises Refused with the code of section 2."""
    if not isinstance(event, dict):
        raise canonical.Refused("not_an_object")
    for name in ("event_id", "tenant_id", "occurred_at", "action", "actor"):
        if name not in event:
            raise canonical.Refused("missing_member")
    check_label(event["event_id"])
    check_label(event["action"])
    for name in ("tenant_id", "occurred_at"):
        if not isinstance(event[name], str):
            raise canonical.Refused("wrong_member")
    if not TENANT.fullmatch(event["tenant_id"]):
        raise canonical.Refused("invalid_tenant_id")
    if instant(event["occurred_at"]) is None:
        raise canonical.Refused("invalid_time")
    check_actor(event["actor"])
    if not isinstance(event.get("targets", []), list) or not isinstance(event.get("context", {}), dict):
        raise canonical.Refused("wrong_member")


def check_actor(actor):
    if not isinstance(actor, dict):
        raise canonical.Refused("wrong_member")
    for name in ("type", "id"):
        if name not in actor:
            raise canonical.Refused("missing_member")
        check_label(actor[name])


def murmur2(data):
    """MurmurHash2 of 32 bits as the Kafka Java client has it: little endian, seed 0x9747b28c."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(tenant, partitions):
    return (murmur2(tenant.encode()) & 0x7FFFFFFF) % partitions
