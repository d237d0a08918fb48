"""Which hosts and addresses `http.request` may talk to.

    rules = rules_of(settings, os.environ)
    rules.check_host("example.org")
    rules.check_address("93.184.216.34")

A definition says so under `settings.http`, and whoever runs flujo by environment variables; both have to agree. A name
is judged by the addresses it has at that moment, and these are what is connected to, so that a name which changes its
address in between leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from flujo.kernel.errors import FlujoError

HOSTS_VARIABLE = "FLUJO_HTTP_HOSTS"
PRIVATE_VARIABLE = "FLUJO_HTTP_PRIVATE"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefusedError(FlujoError, PermissionError):
    """A request leads to a host or an address that it may not lead to."""

    reason = "INVALID_FIELD"
    type = "AddressRefusedError"


class Rules(NamedTuple):
    """What is allowed. `hosts`: the patterns of each list, every one of which has to match. `private`: whether
    addresses of one's own machine and network are; None allows these, and not those that only a machine itself has,
    where clouds hand out credentials."""

    hosts: tuple[tuple[str, ...], ...] = ()
    private: bool | None = None

    def check_host(self, host: str) -> None:
        """Raise AddressRefusedError for a host that a list leaves out."""
        name = host.lower().rstrip(".")
        for patterns in self.hosts:
            if not any(fnmatchcase(name, pattern.lower()) for pattern in patterns):
                listed = ", ".join(patterns) or "none"
                raise AddressRefusedError(f"requests to {host} are not allowed here; allowed are: {listed}")

    def check_address(self, host: str, text: str) -> None:
        """Raise AddressRefusedError for an address of a host that may not be connected to."""
        if (kind := _refused_kind(_plain(ipaddress.ip_address(text.partition("%")[0])), self.private)) is not None:
            raise AddressRefusedError(
                f"{host} leads to {text}, {kind}, which is not allowed here; "
                f"`settings: {{http: {{private: true}}}}` allows it, unless {PRIVATE_VARIABLE} says `block`"
            )


def rules_of(settings: Mapping[str, Any], environment: Mapping[str, str]) -> Rules:
    """Return the rules of a definition and of this machine; raises ValueError for those that say something else."""
    own = settings.get("http") or {}
    if not isinstance(own, Mapping) or not own.keys() <= {"hosts", "private"}:
        raise ValueError("`settings.http` is a mapping of `hosts` and `private`")
    hosts = [_listed(own["hosts"])] if "hosts" in own else []
    if HOSTS_VARIABLE in environment:
        hosts.append(tuple(filter(None, environment[HOSTS_VARIABLE].replace(",", " ").split())))
    private = own.get("private")
    if private is not None and not isinstance(private, bool):
        raise ValueError(f"`settings.http.private` is true or false, not {private!r}")
    if PRIVATE_VARIABLE in environment:
        word = environment[PRIVATE_VARIABLE].strip().lower()
        if word not in ("allow", "block"):
            raise ValueError(f"the environment variable {PRIVATE_VARIABLE} is `allow` or `block`, not {word!r}")
        if word == "block":
            private = False
        elif private is None:
            private = True
    return Rules(tuple(hosts), private)


def _listed(hosts: Any) -> tuple[str, ...]:
    names = [hosts] if isinstance(hosts, str) else hosts
    if not isinstance(names, Sequence) or not all(isinstance(each, str) for each in names):
        raise ValueError("`settings.http.hosts` is a list of names such as [example.org, '*.example.org']")
    return tuple(names)


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it stands for one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _refused_kind(address: Address, private: bool | None) -> str | None:
    """Return what an address is, as far as that is a reason to refuse it."""
    if private is True:
        return None
    if address.is_link_local:
        return "a link-local address"
    if private is None:
        return None
    if address.is_loopback or address.is_unspecified:
        return "an address of this machine"
    return None if address.is_global and not address.is_multicast else "a private address"


def problem_with_url(text: Any) -> str | None:
    """Return why a text cannot be the URL of a request, as the end of a sentence, as far as its beginning tells."""
    if not isinstance(text, str) or re.match(r"\s*https?://[^/?#\s]", text, re.IGNORECASE):
        return None
    return "must begin with http:// or https:// and name a host"
